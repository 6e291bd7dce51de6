"""The text of a new manifest: what was chosen and why, and every key left alone with its default and meaning.

Pure. Defaults and meanings come from the tables themselves, so the text cannot say something else than they.
"""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from onerec.config import Dataset, Training, Vocab
from onerec.vocab import ItemicVocab
from runner.manifest.schema import field_texts
from runner.manifest.sources import url_scheme
from runner.manifest.tables import Cluster, Manifest, Model, TrainStage
from runner.new.look import USUAL, Facts
from runner.report import counted

WIDTH = 110
COMMENT_COLUMN = 42
LEFT_OUT = {
    "slurm",
    "model",
    "vocab",
    "cluster",
    "notify",
    "datasets",
    "training",
    "stages",
    "kind",
    "dataset",
}
"""Keys that are tables of their own, or always written."""
Lines = Iterator[str]


def manifest_text(facts: Facts, *, name: str, path: Path) -> str:
    """The manifest of run `name`, to lie at `path`: relative paths are written as seen from its folder."""
    folder = path.parent
    parts = [_head(facts, name, file=path.name), _model(facts, folder), _vocab(facts), _cluster(facts)]
    parts += [_dataset(facts, folder), _training(), *_stages(facts)]
    return "\n\n".join("\n".join(line.rstrip() for line in part) for part in parts) + "\n"


def _head(facts: Facts, name: str, *, file: str) -> Lines:
    yield f"# {name}: {_sizes(facts)}, trained on {quoted(facts.data.source)}."
    yield f"# Look first:         runner check {file}"
    yield f"# what is trained:    runner preview {file} --dataset {dataset_name(facts)}"
    yield f"# Start it:           runner {file}"
    yield "# What a key means:   runner explain KEY"
    yield "# Keys behind a '#' have the default that they show; one without a value has none."
    yield ""
    yield written("name", name, "the run directory is output_dir/name")
    yield from defaults(Manifest, {"name"})


def _sizes(facts: Facts) -> str:
    model = facts.model
    tie = "one table for embedding and head" if model.is_tied else "separate embedding and head"
    return f"a Qwen3 of {model.layers} layers of {model.width}, {tie}"


def _model(facts: Facts, folder: Path) -> Lines:
    yield "[model]"
    yield written("base_model_dir", _seen_from(str(facts.model.folder), folder), "the folder that was given")
    yield from defaults(Model, {"base_model_dir"})


def _vocab(facts: Facts) -> Lines:
    model = facts.model
    layers, codes = itemic_sizes(facts)
    itemic = ItemicVocab(layers, codes, model.first_id)
    yield _headed("vocab", f"{itemic.num_tokens:,} itemic tokens: ids {itemic.first_id} to {itemic.last_id}")
    yield written("itemic_layer_n", layers, _why_sizes(facts))
    yield written("vocab_size_per_layer", codes, _seen_codes(facts))
    yield from defaults(Vocab, {"itemic_layer_n", "vocab_size_per_layer"})


def itemic_sizes(facts: Facts) -> tuple[int, int]:
    """Levels and codes per level: the model's own, else OneRec's, or more where the rows have more."""
    if facts.model.itemic is not None:
        return facts.model.itemic
    codes = USUAL.size_per_layer
    while codes <= facts.data.largest_code:
        codes *= 2
    return facts.data.levels or USUAL.layer_n, codes


def _why_sizes(facts: Facts) -> str:
    if facts.model.itemic is not None:
        return "as the model's tokenizer has them"
    return "levels seen in the rows" if facts.data.levels else "levels of a semantic id; OneRec's"


def _seen_codes(facts: Facts) -> str:
    if facts.data.largest_code < 0:
        return "codes per level; no itemic token was seen in the rows: check"
    return f"codes per level; the largest seen in {facts.data.rows} rows is {facts.data.largest_code}"


def _cluster(facts: Facts) -> Lines:
    count = len(facts.gpus)
    here = f"{count} x {facts.gpus[0].name}" if count else "no GPU"
    yield _headed("cluster", f"here: {here}")
    if count > 1:
        yield written(
            "launcher", "torchrun", "one process per GPU of this host; mpirun or slurm for several hosts"
        )
    else:
        yield written("launcher", "local", "one process on this host; torchrun, mpirun or slurm for more")
    yield from defaults(Cluster, {"launcher"})


def dataset_name(facts: Facts) -> str:
    """`sft` for chats, `pretrain` for texts."""
    return "sft" if facts.data.is_chat else "pretrain"


def _dataset(facts: Facts, folder: Path) -> Lines:
    data = facts.data
    yield f"[datasets.{dataset_name(facts)}]"
    source = data.source if url_scheme(data.source) else _seen_from(data.source, folder)
    seen = f"{counted(data.files, 'file')}; of {data.rows} rows {data.chats} chats, {data.texts} texts"
    yield written("sources", source, seen if data.rows else "not looked at")
    if data.sources:
        told = ", ".join(f"{json.dumps(name)} {count}" for name, count in sorted(data.sources.items())[:4])
        yield from textwrap.wrap(
            f"rows by source: {told}", WIDTH, initial_indent="# ", subsequent_indent="# "
        )
    longest = min(Dataset.model_fields["max_length"].default, facts.model.positions)
    yield written(
        "max_length", longest, f"tokens of one pack; the model knows {facts.model.positions} positions"
    )
    yield from defaults(Dataset, {"sources", "max_length", "name"})


def _training() -> Lines:
    yield _headed("training", "defaults of every training stage, each of which may override them")
    yield written(
        "lr_scheduler_type", "cosine", "down to min_lr at num_training_steps, or at the end of the data"
    )
    yield written("save_checkpoint_per_step", 500, "an interrupted run goes on from the newest checkpoint")
    yield from defaults(Training, {"lr_scheduler_type", "save_checkpoint_per_step", *_OF_STAGES})


_OF_STAGES = ("learning_rate", "min_lr", "freeze_llm", "num_warmup_steps", "max_steps", "num_training_steps")
"""Keys that every stage says for itself here."""


def _stages(facts: Facts) -> Iterator[Lines]:
    data = dataset_name(facts)
    if facts.model.itemic is None or not facts.model.is_told:
        adds = "adds the itemic tokens to model and tokenizer"
        yield iter(("[stages.expand]", written("kind", "expand_vocab", adds)))
    if facts.model.itemic is None:
        why = "itemic-text alignment: only the itemic rows train"
        yield _train("stage1", data, rates=(1e-3, 1e-4), why=why, freezes=True)
    name, rates = ("sft", (2e-5, 5e-6)) if facts.data.is_chat else ("stage2", (1e-4, 2e-5))
    yield _train(name, data, rates=rates, why="everything trains", lists_all=True)
    yield iter(("[stages.test]", written("kind", "test_model", "weights load, forward pass, generation")))


def _train(
    name: str,
    data: str,
    *,
    rates: tuple[float, float],
    why: str,
    freezes: bool = False,
    lists_all: bool = False,
) -> Lines:
    yield _headed(f"stages.{name}", why)
    yield written("kind", "train", "its last checkpoint becomes a Hugging Face folder by itself")
    yield written("dataset", data, "one of [datasets], or a list of them")
    if freezes:
        yield written("freeze_llm", value=True, why="only the rows of the itemic tokens")
    yield written("learning_rate", rates[0], "after the warm-up; as in OneRec's technical report")
    yield written("min_lr", rates[1], "where the decay ends")
    yield written(
        "num_warmup_steps", 0, "about a tenth of the steps; `runner check` tells how many there are"
    )
    if lists_all:
        own = set(TrainStage.model_fields) - set(Training.model_fields)
        yield from defaults(TrainStage, set(TrainStage.model_fields) - own)
        yield from defaults(Training, set(Training.model_fields) - {"max_steps", "num_training_steps"})


def written(key: str, value: object, why: str) -> str:
    """`key = value`, and why."""
    return "\n".join(commented(f"{key} = {toml(value)}", why))


def _headed(table: str, why: str) -> str:
    return f"[{table}]".ljust(COMMENT_COLUMN) + f"# {why}"


def defaults(section: type[BaseModel], known: set[str]) -> Lines:
    """The keys of a table that are not `known`, each behind a `#` with its default and its meaning."""
    texts = field_texts()[section.__name__]
    for key, info in section.model_fields.items():
        if key in known or key in LEFT_OUT or info.is_required():
            continue
        default: Any = info.get_default(call_default_factory=True)
        value = "" if default is None or default is PydanticUndefined else toml(default)
        yield from commented(f"# {key} = {value}", texts.get(key, ""), below="#")


def commented(line: str, text: str, *, below: str = "") -> Lines:
    """A line with a comment, over several lines where it is long; `below` is what those begin with."""
    width = WIDTH - COMMENT_COLUMN - 2
    first, *more = textwrap.wrap(text, width, break_on_hyphens=False) or [""]
    yield f"{line.ljust(COMMENT_COLUMN - 1)} # {first}"
    yield from (f"{below.ljust(COMMENT_COLUMN)}# {rest}" for rest in more)


def toml(value: object) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml(one) for one in value) + "]"
    if isinstance(value, Mapping):
        inside = ", ".join(f"{key} = {toml(below)}" for key, below in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    return repr(value)


def quoted(text: str) -> str:
    """A text in double quotes, for TOML."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _seen_from(path: str, folder: Path) -> str:
    """A path for a manifest in `folder`: absolute ones stay, others are told relative to it."""
    return path if Path(path).is_absolute() else os.path.relpath(Path.cwd() / path, folder.absolute())
