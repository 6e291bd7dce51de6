"""C14: from the start of a process to its first batch, 1,000 parquet files, everything prepared before.

A fresh Python each time, its imports and workers included. Peers find all that they cache: for datasets the
Arrow files and the tokenised map, for TRL its packs as well. Both are the data path alone, without model or
trainer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tests.benchmarks import materials
from tests.benchmarks.environment import Bench, cache_folder, peer_environment
from tests.benchmarks.harness import Line, Lines, Run, Void, at_least, benchmark, figure, in_turn

TITLE = "start to first batch, 1,000 files, prepared"
HF, TRL = "HF datasets", "TRL"


@benchmark("C14", TITLE)
def start(bench: Bench) -> Lines:
    """Against both peers."""
    contenders = _contenders(bench)
    for name, run in contenders.items():
        bench.tell(f"first run of {name}, which fills its caches")
        run()
    runs = in_turn(contenders, repeats=bench.times(5))
    ours = figure("ours", runs["ours"])
    for name in (HF, TRL):
        yield Line(TITLE, ours, figure(name, runs[name]), at_least(5))


def _contenders(bench: Bench) -> dict[str, Callable[[], Run]]:
    corpus = materials.short_corpus(bench)
    given = {
        "store": materials.short_store(bench),
        "files": [str(path) for path in sorted(corpus.glob("*.parquet"))],
        "tokenizer": materials.tokenizer(bench),
        "max_length": materials.MAX_LENGTH,
        "cache": cache_folder() / "huggingface" / peer_environment().folder.name,
    }
    return {
        "ours": lambda: _timed(bench.ours, "start", given),
        HF: lambda: _timed(bench.peer, "hf_start", given),
        TRL: lambda: _timed(bench.peer, "trl_start", given),
    }


def _timed(run: Callable[..., dict[str, Any]], script: str, given: dict[str, Any]) -> Run:
    began = time.time()
    told = run(script, **given)
    if not 0 < told["tokens"] <= 1.5 * materials.MAX_LENGTH:
        raise Void(f"{script}: the first batch has {told['tokens']} tokens")
    return {**told, "seconds": told["clock"] - began}
