"""`python -m onerec CONFIG.json`: do the one step that the file describes, and write its result.json.

Decides nothing about the step itself. Faults of people end with one message and their exit code.
"""

from __future__ import annotations

import faulthandler
import importlib
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from onerec.config import TrainConfig, load_config
from onerec.cuda_environment import set_defaults
from onerec.errors import ConfigError, OneRecError
from onerec.progress import say, write_json_atomically

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAMS = {
    "build_data": "onerec.build.data:build_data",
    "encode_items": "onerec.build.encode:encode_items",
    "evaluate": "onerec.evaluate.program:evaluate",
    "recommend": "onerec.evaluate.recommend:recommend",
    "init_model": "onerec.model.init:init_model",
    "expand_vocab": "onerec.model.expand:expand_vocab",
    "prepare": "onerec.data.preparation.prepare:prepare",
    "shard": "onerec.data.source.shard:shard",
    "preview": "onerec.preview:preview",
    "inspect_data": "onerec.inspect_data:inspect_data",
    "train": "onerec.train.loop:train",
    "convert": "onerec.convert:convert",
    "test_model": "onerec.model_test.program:test_model",
}


def main(arguments: list[str]) -> int:
    """Run the program of a config.json; returns the exit code."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m onerec CONFIG.json\n")
        return 2
    _dump_stacks_on_request(os.environ.get("RUNNER_STACKS"))
    try:
        config = load_config(Path(arguments[0]))
    except (OSError, ValueError) as fault:
        return _failed(ConfigError(f"{fault}; let the runner write it, or correct it"))
    # torch reads its environment when it is loaded, which a program does
    deterministic = isinstance(config, TrainConfig) and config.compute.deterministic
    set_defaults(os.environ, deterministic=deterministic)
    try:
        summary = _program(config.kind)(config)
        if int(os.environ.get("RANK", os.environ.get("OMPI_COMM_WORLD_RANK", "0"))) == 0:
            attempt = int(os.environ.get("RUNNER_ATTEMPT", "0"))
            write_json_atomically(Path(config.output_dir) / "result.json", {**summary, "attempt": attempt})
    except OneRecError as fault:
        return _failed(fault)
    return 0


def _dump_stacks_on_request(path: str | None) -> None:
    """On SIGQUIT, write where every thread stands to a file; whoever watches this process asks for it."""
    if path is not None:
        file = Path(path).open("a", encoding="utf-8")  # noqa: SIM115 - for as long as the process lives
        faulthandler.register(signal.SIGQUIT, file=file, all_threads=True)


def _failed(fault: OneRecError) -> int:
    if os.environ.get("RUNNER_TRACEBACK"):
        traceback.print_exception(fault)
    say(f"error: {fault}", is_warning=True)
    return fault.exit_code


def _program(kind: str) -> Callable[..., dict[str, object]]:
    module, function = PROGRAMS[kind].split(":")
    program: Callable[..., dict[str, object]] = getattr(importlib.import_module(module), function)
    return program


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # all is written: destructors of the process group may wait for ranks that are gone, and aborted 1 run in
    # 10 whose ranks were all done ("terminate called without an active exception")
    os._exit(code)
