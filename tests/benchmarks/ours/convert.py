"""Convert a checkpoint of a stage; the whole process is timed by its own clock, from its start."""

import contextlib
import json
import os
import sys
from pathlib import Path


def main():
    given = json.loads(sys.argv[1])
    from onerec.config import ConvertConfig
    from onerec.convert import convert
    from tests.benchmarks.peak import of_process

    folder = Path(given["folder"])
    config = ConvertConfig(
        output_dir=given["output"] + ".records",
        stage_dir=str(folder / "stage"),
        target_dir=given["output"],
        model_dir=str(folder / "model"),
    )
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        convert(config)
    print(json.dumps(of_process()))


if __name__ == "__main__":
    main()
