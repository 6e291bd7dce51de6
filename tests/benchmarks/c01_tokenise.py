"""C1: rows to token ids, and for ours also the trained spans; the ids of all contenders must be identical.

Every repeat is a fresh process with empty caches; rows are read and tokenizers loaded before seconds begin.
`encode_batch` is given the rendered texts for nothing, and no peer tells spans.
"""

from __future__ import annotations

from typing import Any

from tests.benchmarks import materials
from tests.benchmarks.environment import Bench
from tests.benchmarks.harness import Line, Lines, at_least, benchmark, figure, in_turn, require_equal

ROWS = 10_000
TITLE = "tokenise 10k samples"
PER_SAMPLE, BATCH = "HF apply_chat_template + call", "HF encode_batch"


@benchmark("C1", TITLE, needs_peers=False)
def tokenise(bench: Bench) -> Lines:
    """One core each against HF per sample; both cores each against `encode_batch`."""
    given = {"corpus": materials.corpus(bench, rows=ROWS), "tokenizer": materials.tokenizer(bench)}

    def run(way: str, cores: int) -> dict[str, Any]:
        return bench.ours("tokenise", **given, way=way, cores=cores)

    runs = in_turn(
        {
            "ours, 1 core": lambda: run("ours", 1),
            PER_SAMPLE: lambda: run("per_sample", 1),
            f"{BATCH}, 1 core": lambda: run("encode_batch", 1),
            "ours": lambda: run("ours", 2),
            f"{BATCH}, 2 cores": lambda: run("encode_batch", 2),
        },
        repeats=bench.times(5),
    )
    require_equal("ids", {name: [one["ids"] for one in made] for name, made in runs.items()})
    figures = {name: figure(name.removesuffix(", 1 core"), made) for name, made in runs.items()}
    one, two = figures["ours, 1 core"], figures["ours"]
    yield Line(f"{TITLE}, one core each", one, figures[PER_SAMPLE], at_least(5))
    yield Line(f"{TITLE}, one core each", one, figures[f"{BATCH}, 1 core"], at_least(3))
    yield Line(f"{TITLE}, two cores each", two, figures[f"{BATCH}, 2 cores"], at_least(3))
