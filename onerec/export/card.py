"""README.md of a converted folder: the model card, which tells where a model comes from.

Its front matter is what the Hugging Face hub reads: https://huggingface.co/docs/hub/model-cards
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
import transformers

CARD_NAME = "README.md"


@dataclass(frozen=True)
class Provenance:
    """Where a converted model comes from."""

    stage: str
    step: int
    dtype: str
    base_model: str | None = None
    """Name of the model that the programme started from; None for one from scratch or unknown."""
    tokens: int | None = None
    samples: int | None = None
    data_fingerprint: str | None = None
    manifest: Path | None = None
    """The run's manifest; its name and digest are told."""
    proofs: Mapping[str, str] = field(default_factory=dict)


def card(origin: Provenance, *, itemic_example: str | None) -> str:
    """The text of the card; `itemic_example` is an item as the model spells it, None without itemics."""
    rows = {
        "base model": origin.base_model or "none: trained from scratch, or not told",
        "stage": origin.stage,
        "optimizer step": f"{origin.step:,}",
        "tokens read": _counted(origin.tokens),
        "samples read": _counted(origin.samples),
        "data fingerprint": origin.data_fingerprint or "not told",
        "manifest": _manifest(origin.manifest),
        "number format": origin.dtype,
        "written with": f"torch {torch.__version__}, transformers {transformers.__version__}, "
        f"Python {platform.python_version()}",
    }
    lines = [*_front_matter(origin), "", f"# {_title(origin)}", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {_cell(value)} |" for name, value in rows.items()]
    lines += ["", "Proved when it was written:", ""]
    lines += [f"- {name}: {text}" for name, text in origin.proofs.items()]
    lines += ["", "```python", *_usage(), "```"]
    if itemic_example is not None:
        lines += ["", f"Items are spelt with itemic tokens, such as `{itemic_example}`."]
    if "items" in origin.proofs:
        ask = "runner recommend THIS_FOLDER --history PID,PID"
        lines += ["", f"Its items are in `onerec_items.parquet` (pid, sid); ask for some with `{ask}`."]
    return "\n".join(lines) + "\n"


def _front_matter(origin: Provenance) -> list[str]:
    base = [f"base_model: {json.dumps(origin.base_model)}"] if origin.base_model else []  # JSON is YAML
    return [
        "---",
        "library_name: transformers",
        "pipeline_tag: text-generation",
        *base,
        "tags:",
        "- onerec",
        "- generative-recommendation",
        "---",
    ]


def _title(origin: Provenance) -> str:
    return f"{origin.stage}, step {origin.step:,}"


def _counted(number: int | None) -> str:
    return "not told" if number is None else f"{number:,}"


def _manifest(path: Path | None) -> str:
    """Name and digest of the manifest; its place is nobody's business."""
    if path is None or not path.is_file():
        return "not told"
    return f"{path.name}, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _usage() -> list[str]:
    return [
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        'model = AutoModelForCausalLM.from_pretrained("PATH/TO/THIS/FOLDER")',
        'tokenizer = AutoTokenizer.from_pretrained("PATH/TO/THIS/FOLDER")',
    ]
