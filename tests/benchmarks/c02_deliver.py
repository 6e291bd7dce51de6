"""C2: from parquet to packed 32k batches, all of them delivered by two workers.

Every repeat is a fresh process; seconds begin after its imports. The files are warm in memory, nothing is
cached.
"""

from __future__ import annotations

import tempfile

from onerec.data.text.tokenizer import DOCUMENT_END, token_id
from onerec.data.text.tokenizer import load_tokenizer as load_any
from tests.benchmarks import materials
from tests.benchmarks.environment import Bench
from tests.benchmarks.harness import Line, Lines, at_least, benchmark, figure, in_turn, require_equal

ROWS = 30_000
TITLE = "parquet to packed 32k batches, 2 workers"
TRL, PER_SAMPLE = "TRL map + pack", "per-sample IterableDataset"


@benchmark("C2", TITLE)
def deliver(bench: Bench) -> Lines:
    """First epoch and prepared store, each against both peers."""
    with tempfile.TemporaryDirectory() as scratch:
        runs = _runs(bench, scratch)
    for what in ("samples", "tokens", "ids"):
        require_equal(what, {name: [run[what] for run in made] for name, made in runs.items()})
    first, prepared = figure("ours", runs["first epoch"]), figure("ours", runs["prepared"])
    for name in (TRL, PER_SAMPLE):
        yield Line(f"{TITLE}: first epoch", first, figure(name, runs[name]), at_least(3))
    for name in (TRL, PER_SAMPLE):
        yield Line(f"{TITLE}: from the prepared store", prepared, figure(name, runs[name]), at_least(50))


def _runs(bench: Bench, scratch: str) -> dict[str, list]:
    corpus, tokenizer = materials.corpus(bench, rows=ROWS), materials.tokenizer(bench)
    store = materials.prepared(bench, f"store-{ROWS}", corpus)
    given = {
        "corpus": corpus,
        "files": [str(path) for path in sorted(corpus.glob("*.parquet"))],
        "tokenizer": tokenizer,
        "max_length": materials.MAX_LENGTH,
        "scratch": scratch,
        "document_end_id": token_id(load_any(tokenizer), DOCUMENT_END),
    }
    return in_turn(
        {
            "first epoch": lambda: bench.ours("deliver", **given),
            TRL: lambda: bench.peer("trl_deliver", **given),
            "prepared": lambda: bench.ours("deliver", **given, store=store),
            PER_SAMPLE: lambda: bench.peer("per_sample_deliver", **given),
        },
        repeats=bench.times(3),
    )
