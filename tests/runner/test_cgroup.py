from __future__ import annotations

from pathlib import Path

import pytest

from runner.cgroup import count_oom_kills


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
