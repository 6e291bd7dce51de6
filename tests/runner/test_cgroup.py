from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from runner.cgroup import ROOT, count_oom_kills
from runner.outcome import kind_of
from tests.runner.programme import environment, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.mark.parametrize(
    ("group", "files", "count"),
    [
        ("0::/job/step\n", {"job/step/memory.events": "low 0\noom 4\noom_kill 3\noom_group_kill 1\n"}, 3),
        ("0::/job/step\n", {"job/memory.events": "oom_kill 2\n"}, 2),
        ("4:memory:/job\n1:cpu:/\n", {"memory/job/memory.oom_control": "under_oom 0\noom_kill 5\n"}, 5),
        ("0::/\n4:cpu,memory:/job\n", {"memory/memory.oom_control": "oom_kill 1\n"}, 1),
        ("0::/\n", {}, None),
        ("nonsense", {}, None),
        ("0::/../..\n", {"memory.events": "oom_kill 9\n"}, 9),
    ],
)
def test_kills_are_told_by_the_nearest_group(
    tmp_path: Path, group: str, files: dict[str, str], count: int | None
) -> None:
    for name, text in files.items():
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "group").write_text(group)
    assert count_oom_kills(group=tmp_path / "group", root=tmp_path / "root") == count


def test_where_nothing_tells_nothing_is_said(tmp_path: Path) -> None:
    assert count_oom_kills(group=tmp_path / "none", root=tmp_path) is None


HUNGRY = "data = [bytearray(1 << 20) for _ in range(400)]\nprint('fed')"


@pytest.fixture
def small_group() -> Iterator[Path]:
    """A real memory group of 120 MB below this process's own; skipped where none can be made."""
    line = next(
        (line for line in Path("/proc/self/cgroup").read_text().splitlines() if ":memory:" in line), None
    )
    own = ROOT / "memory" / line.rpartition(":")[2].lstrip("/") if line else ROOT
    limit = "memory.limit_in_bytes" if line else "memory.max"
    group = own / f"test-{os.getpid()}"
    try:
        group.mkdir()
        (group / limit).write_text(str(120 << 20))
    except OSError as fault:
        pytest.skip(f"no memory group can be made here: {fault}")
    yield group
    wait_until(lambda: (group / "cgroup.procs").read_text() == "")
    group.rmdir()


def test_a_trainer_that_the_kernel_kills_for_its_memory_is_told_as_that(
    tmp_path: Path, small_group: Path
) -> None:
    lines = [
        f"import os; open({str(small_group / 'cgroup.procs')!r}, 'w').write(str(os.getpid()))",
        "import sys; from runner.rank import main",
        f"sys.exit(main(['--log-dir', {str(tmp_path)!r}, '--', '-c', {HUNGRY!r}]))",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], env=environment(), check=False)
    record = json.loads((tmp_path / "rank-00000.json").read_text())
    assert (done.returncode, record["signal"], record["oom_kills"]) == (137, 9, 1)
    assert kind_of(record) == "out_of_host_memory"
