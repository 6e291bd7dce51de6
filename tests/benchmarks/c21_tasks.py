"""C21: rows of all tasks from 200,000 users of 20 events each, as parquet files; rows a second and memory.

The peer makes rows one by one, a dict each, and Table.from_pylist of a thousand. It is given a tenth of the
users and three of the tasks, since its rows cost the same however many there are; the row is void unless its
files are ours, byte for byte. Memory is what rises while rows are written, at both sizes, over the columns
of users and events that there are once.
"""

from __future__ import annotations

from collections.abc import Iterable

from tests.benchmarks.environment import Bench
from tests.benchmarks.harness import (
    Figure,
    Line,
    Lines,
    Run,
    at_least,
    at_most,
    benchmark,
    in_turn,
    require_equal,
)

USERS, TENTH = 200_000, 20_000
TITLE = "rows of all tasks, 200,000 users x 20 events"
ROWWISE = "a dict per row, from_pylist"


@benchmark("C21", TITLE, needs_peers=False)
def tasks(bench: Bench) -> Lines:
    """Rows a second of both, and the memory of ours at two sizes."""
    runs = in_turn(
        {
            "all": lambda: bench.ours("tasks", users=USERS, by="all"),
            "a tenth": lambda: bench.ours("tasks", users=TENTH, by="all"),
            "three tasks": lambda: bench.ours("tasks", users=TENTH, by="columns"),
            ROWWISE: lambda: bench.ours("tasks", users=TENTH, by="rows"),
        },
        repeats=bench.times(3),
    )
    for key in ("rows", "digest"):
        require_equal(key, {name: [run[key] for run in runs[name]] for name in ("three tasks", ROWWISE)})
    yield Line(TITLE, _pace("ours", runs["all"]), goal=at_least(20_000, "rows/s"))
    yield Line(
        "three tasks of a tenth of the users: time of 1,000 rows",
        _cost("ours", runs["three tasks"]),
        _cost(ROWWISE, runs[ROWWISE]),
        at_least(2),
    )
    memory, of_tenth = _memory("ours", runs["all"]), _memory("of a tenth of the users", runs["a tenth"])
    yield Line("memory of all users", memory, of_tenth, at_most(1.5))


def _pace(name: str, runs: Iterable[Run]) -> Figure:
    return Figure(name, tuple(run["rows"] / run["seconds"] for run in runs), "rows/s")


def _cost(name: str, runs: Iterable[Run]) -> Figure:
    return Figure(name, tuple(1000 * run["seconds"] / run["rows"] for run in runs))


def _memory(name: str, runs: Iterable[Run]) -> Figure:
    return Figure(name, tuple(float(run["bytes"]) for run in runs), "bytes")
