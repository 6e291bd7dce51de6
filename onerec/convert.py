"""Write a checkpoint as a Hugging Face folder, some rows at a time, and prove it before it gets its name.

What the proof is, is told in `export/`; killed at any moment, there is the whole folder or none.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import Qwen3Config

from onerec.checkpoint import commit
from onerec.checkpoint.state import load_state
from onerec.errors import ConfigError, OneRecError, StorageError
from onerec.export.card import CARD_NAME, Provenance, card
from onerec.export.locate import Located, Vouching, choose, locate, without_copied_head
from onerec.export.logits import walk
from onerec.export.prove import check_fits, prove
from onerec.export.source import CheckpointWeights, open_source
from onerec.folder import whole_folder
from onerec.model.hf_folder import CONFIG_NAME, INDEX_NAME, VOCAB_NAME, carried_files, read_json, write_json
from onerec.model.safetensors_writer import ShardWriter
from onerec.progress import Progress, say, sync_directory
from onerec.vocab import item_text

if TYPE_CHECKING:
    from onerec.config import ConvertConfig

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
CONVERTED = "converted"
RECORD_NAME = "conversion.json"


def convert(config: ConvertConfig) -> dict[str, object]:
    """Convert one checkpoint; returns where the folder is and how it was proved.

    A folder that is already there with the same number format is left as it is. Raises ConfigError for a step
    that is not there (telling which are) and for a checkpoint of another model, StorageError for damage and
    full disks.
    """
    located = _located(config)
    target = _target(config, located)
    record = _finished(target, located, dtype=config.dtype)
    if record is None:
        record = _write_folder(config, located, target)
    else:
        say(f"{target} is there already")
    if config.link is not None:
        point_link(Path(config.link), target)
    return {"model_dir": str(target), **record, "report": [f"converted {located.folder.name} to {target}"]}


def folder_name(dtype: str) -> str:
    """`converted` for bf16, which the next stage starts from; other formats get folders of their own."""
    return CONVERTED if dtype == "bf16" else f"{CONVERTED}-{dtype}"


def point_link(link: Path, target: Path) -> None:
    """Make a relative symbolic link, replacing an older one in one move."""
    link.parent.mkdir(parents=True, exist_ok=True)
    temporary = link.with_name(f".{link.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(os.path.relpath(target, link.parent))
    temporary.replace(link)
    sync_directory(link.parent)


def _located(config: ConvertConfig) -> Located:
    if config.checkpoint_dir is not None:
        return locate(Path(config.checkpoint_dir), config.step)
    assert config.stage_dir is not None, "the configuration wants either"
    return choose(Path(config.stage_dir), config.step)


def _target(config: ConvertConfig, located: Located) -> Path:
    if config.target_dir is None:
        return commit.data_dir(located.folder) / folder_name(config.dtype)
    return Path(config.target_dir)


def _finished(target: Path, located: Located, *, dtype: str) -> dict[str, Any] | None:
    """The record of a target that holds this conversion already; None where nothing is there.

    Raises ConfigError for a target that holds anything else: nothing is written over.
    """
    if not target.exists():
        return None
    if not (target / RECORD_NAME).exists():
        raise ConfigError(f"{target} is there and no converted folder; move it away, or name a new one")
    record = read_json(target / RECORD_NAME)
    told, wanted = (record.get("dtype"), record.get("index_sha256")), (dtype, located.index_digest)
    if told != wanted:
        raise ConfigError(
            f"{target} is there, with step {record.get('step')} in {told[0]}, not step {located.step} of "
            f"{located.folder} in {dtype}; move it away, or name a new one"
        )
    return record


def _write_folder(config: ConvertConfig, located: Located, target: Path) -> dict[str, Any]:
    model_dir = Path(config.model_dir)
    try:
        with whole_folder(target) as folder:  # its temporary name keeps the checkpoint from being pruned
            if not located.tensors_dir.is_dir():
                raise ConfigError(f"{located.folder} was removed in the meantime; convert another step")
            vouching = Vouching(located)
            weights = _open_weights(located, model_dir, dtype=DTYPES[config.dtype])
            digests, logits = _write_tensors(config, weights, folder)
            vouching.finish()
            _carry(model_dir, folder, dtype=DTYPES[config.dtype])
            proofs = prove(folder, digests=digests, logits=logits)
            origin = _provenance(config, located, proofs)
            (folder / CARD_NAME).write_text(card(origin, itemic_example=_an_item(folder)), encoding="utf-8")
            record = _record(config, located, origin, tensors=len(digests))
            write_json(folder / RECORD_NAME, record)
    except OSError as fault:
        raise StorageError(f"{target}: {fault}; free space or mend the disk, then convert again") from fault
    return record


def _open_weights(located: Located, model_dir: Path, *, dtype: torch.dtype) -> CheckpointWeights:
    """The weights to write, which fit the configuration that the training started with."""
    stored = located.open()
    config = Qwen3Config.from_pretrained(model_dir, local_files_only=True)
    if not located.is_ours:
        without_copied_head(stored, is_tied=bool(config.tie_word_embeddings))
    weights = open_source(stored, model_dir, dtype=dtype)
    check_fits(weights, config, whose=str(located.tensors_dir))
    return weights


def _write_tensors(
    config: ConvertConfig, weights: CheckpointWeights, folder: Path
) -> tuple[dict[str, str], torch.Tensor]:
    """Stream every tensor into shards; the sha256 of each one's bytes, and the logits of the prompt."""
    names = weights.names()
    progress = Progress(Path(config.output_dir), total=len(names), unit="tensors")
    limit = int(config.max_shard_gigabytes * 1e9)
    digests: dict[str, str] = {}
    model_config = Qwen3Config.from_pretrained(config.model_dir, local_files_only=True)
    with ShardWriter(folder, dtype=weights.dtype, max_shard_bytes=limit) as writer:
        writer.plan({name: weights.shape(name) for name in names})

        def write(name: str, pieces: Iterator[torch.Tensor]) -> None:
            digests[name] = writer.write(name, pieces)
            progress.update(len(digests))

        logits = walk(weights, config=model_config, visit=write)
    if set(digests) != set(names):
        odd = sorted(set(digests) ^ set(names))
        raise OneRecError(f"{folder}: {odd[0]} was not written; the model has a part that this does not know")
    return digests, logits


def _carry(model_dir: Path, folder: Path, *, dtype: torch.dtype) -> None:
    """Config, tokenizer, template, generation config and what else is in the folder that began the stage."""
    for path in carried_files(model_dir)[0]:
        if path.name not in {INDEX_NAME, CONFIG_NAME, RECORD_NAME, CARD_NAME}:
            shutil.copyfile(path, folder / path.name)
    config = read_json(model_dir / CONFIG_NAME)
    config.pop("torch_dtype", None)
    write_json(folder / CONFIG_NAME, {**config, "dtype": str(dtype).removeprefix("torch.")})


def _an_item(folder: Path) -> str | None:
    """An item as the model spells it; None without itemic tokens."""
    path = folder / VOCAB_NAME
    return item_text((0,) * int(read_json(path)["itemic_layer_n"])) if path.exists() else None


def _provenance(config: ConvertConfig, located: Located, proofs: dict[str, str]) -> Provenance:
    """Where the model comes from, as far as the checkpoint tells."""
    manifest = None if config.manifest is None else Path(config.manifest)
    if not located.is_ours:
        stage = f"{located.folder.name} of OpenOneRec's trainer"
        return Provenance(
            stage, located.step, config.dtype, config.base_model, manifest=manifest, proofs=proofs
        )
    state = load_state(located.folder)
    counts = list(state.counts.values())
    return Provenance(
        stage=str(state.run.get("stage", located.folder.parent.name)),
        step=located.step,
        dtype=config.dtype,
        base_model=config.base_model,
        tokens=sum(pair[0] for pair in counts),
        samples=sum(pair[1] for pair in counts),
        data_fingerprint=state.data.get("fingerprint"),
        manifest=manifest,
        proofs=proofs,
    )


def _record(config: ConvertConfig, located: Located, origin: Provenance, *, tensors: int) -> dict[str, Any]:
    return {
        "step": origin.step,
        "dtype": config.dtype,
        "tensors": tensors,
        "checkpoint": located.folder.name,
        "index_sha256": located.index_digest,
        "stage": origin.stage,
        "started_from": config.model_dir,
        "base_model": origin.base_model,
        "tokens": origin.tokens,
        "samples": origin.samples,
        "data_fingerprint": origin.data_fingerprint,
        "proved": dict(origin.proofs),
    }
