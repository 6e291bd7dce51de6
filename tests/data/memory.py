"""How much memory a piece of the program takes, measured in a process of its own."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.data.rows import identifier

# VmHWM, not getrusage: its maximum begins with that of the process that started this one
PROGRAM = """
import sys
from pathlib import Path
argument = sys.argv[1]
{setup}
def peak(): return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
before = peak()
{action}
print("megabytes", (peak() - before) // 1024)
"""


def peak_megabytes(setup: str, action: str, argument: object) -> int:
    """Growth of the peak of resident memory, in 2**20 bytes, while `action` runs."""
    program = PROGRAM.format(setup=setup, action=action)
    done = subprocess.run(
        [sys.executable, "-c", program, str(argument)], capture_output=True, text=True, check=True
    )
    return int(done.stdout.split()[-1])


def write_large(path: Path, *, megabytes: int) -> Path:
    """One row group of rows of two kilobytes each, which do not compress."""
    rows = megabytes << 9
    digits = random.Random(megabytes).randbytes(rows << 10).hex()
    segments = [json.dumps([digits[row << 11 : (row + 1) << 11]]) for row in range(rows)]
    columns = {
        "uuid": [identifier(row) for row in range(rows)],
        "source": ["large"] * rows,
        "segments": segments,
    }
    pq.write_table(pa.table(columns), path, use_dictionary=False, compression="none")
    return path
