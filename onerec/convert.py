"""Write a checkpoint as a Hugging Face folder, some rows at a time, and prove it before it gets its name.

What the proof is, is told in `export/`; killed at any moment, there is the whole folder or none.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from onerec.checkpoint import commit
from onerec.checkpoint.best import BEST_NAME, read_best
from onerec.checkpoint.state import load_state
from onerec.errors import ConfigError, OneRecError, StorageError
from onerec.export.card import CARD_NAME, Provenance, card
from onerec.export.carry import carry, check_same_folder, prove_carried, read_model_config
from onerec.export.item_map import digest_of, ship_item_map
from onerec.export.locate import Located, Vouching, choose, locate, without_copied_head
from onerec.export.logits import walk
from onerec.export.place import RECORD_NAME, alone_with, finished, folder_name, require_room
from onerec.export.prove import check_fits, prove
from onerec.export.source import CheckpointWeights, open_source
from onerec.folder import whole_folder
from onerec.model.hf_folder import VOCAB_NAME, read_json, write_json
from onerec.model.safetensors_writer import ShardWriter
from onerec.progress import Progress, say, sync_directory, write_json_atomically
from onerec.vocab import item_text

if TYPE_CHECKING:
    from transformers import Qwen3Config

    from onerec.config import ConvertConfig

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def convert(config: ConvertConfig) -> dict[str, object]:
    """Convert one checkpoint; returns where the folder is and how it was proved.

    A conversion that is there already is left as it is. Raises ConfigError for a step that is not there
    (telling which are), a checkpoint of another model and a target that holds something else, DriftError for
    a folder that is no longer the one that the stage started from, StorageError for damage and full disks.
    """
    located = _located(config)
    target = _target(config, located)
    try:
        with alone_with(located):
            record = finished(target, located, dtype=config.dtype)
            if record is None:
                record = _write_folder(config, located, target)
            else:
                say(f"{target} is there already")
                record = _with_item_map(config, target, record)
    except (OSError, StorageError) as fault:
        if not located.tensors_dir.is_dir():
            told = f"{located.folder} was removed in the meantime; convert another step"
            raise ConfigError(told) from fault
        if isinstance(fault, StorageError):
            raise
        raise StorageError(f"{target}: {fault}; free space or mend the disk, then convert again") from fault
    if config.link is not None:
        point_link(Path(config.link), target)
    return {"model_dir": str(target), **record, "report": [f"converted {located.folder.name} to {target}"]}


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
    stage_dir = Path(config.stage_dir)
    takes_best = config.best and config.step is None
    return choose(stage_dir, _best_step(stage_dir) if takes_best else config.step)


def _best_step(stage_dir: Path) -> int:
    best = read_best(stage_dir)
    if best is None:
        raise ConfigError(
            f"{stage_dir} has no {BEST_NAME}: no hit rate was measured; train with hit_rate, or convert the "
            'last checkpoint (export = "last", or a step)'
        )
    return best.step


def _with_item_map(config: ConvertConfig, folder: Path, record: dict[str, Any]) -> dict[str, Any]:
    """Give a folder the item map that is asked for, unless it has it; returns its record, which tells."""
    if config.item_map is None:
        return record
    digest = digest_of(Path(config.item_map), add_think_pattern=config.add_think_pattern)
    if record.get("item_map") == digest:
        return record
    proof = ship_item_map(Path(config.item_map), folder, add_think_pattern=config.add_think_pattern)
    record = {**record, "item_map": digest, "proved": {**record["proved"], "items": proof}}
    write_json_atomically(folder / RECORD_NAME, record)
    return record


def _target(config: ConvertConfig, located: Located) -> Path:
    if config.target_dir is None:
        return commit.data_dir(located.folder) / folder_name(config.dtype)
    return Path(config.target_dir)


def _write_folder(config: ConvertConfig, located: Located, target: Path) -> dict[str, Any]:
    model_dir, dtype = Path(config.model_dir), DTYPES[config.dtype]
    # its temporary name keeps the checkpoint from being pruned; a folder that was pruned must not come back
    with whole_folder(target, makes_parents=config.target_dir is not None) as folder:
        vouching = Vouching(located)
        model_config = read_model_config(model_dir)
        weights = _open_weights(located, model_dir, model_config, dtype=dtype)
        digests, logits = _write_tensors(config, weights, model_config, folder)
        vouching.finish()
        carry(model_dir, folder, dtype=dtype)
        proofs = prove(folder, digests=digests, logits=logits)
        proofs["files"] = prove_carried(model_dir, folder)
        shipped = _with_item_map(config, folder, {"proved": proofs})
        origin = _provenance(config, located, shipped.pop("proved"))
        (folder / CARD_NAME).write_text(card(origin, itemic_example=_an_item(folder)), encoding="utf-8")
        record = {**_record(config, located, origin, tensors=len(digests)), **shipped}
        write_json(folder / RECORD_NAME, record)
    return record


def _open_weights(
    located: Located, model_dir: Path, config: Qwen3Config, *, dtype: torch.dtype
) -> CheckpointWeights:
    """The weights to write, which fit the configuration that the training started with."""
    stored = located.open()
    if not located.is_ours:
        without_copied_head(stored, is_tied=bool(config.tie_word_embeddings))
    weights = open_source(stored, model_dir, dtype=dtype)
    check_fits(weights, config, whose=str(located.tensors_dir))
    if located.is_ours:
        started_from = load_state(located.folder).run.get("started_from")
        gives_weights = bool(weights.frozen.names())
        check_same_folder(model_dir, started_from=started_from, gives_weights=gives_weights)
    return weights


def _write_tensors(
    config: ConvertConfig, weights: CheckpointWeights, model_config: Qwen3Config, folder: Path
) -> tuple[dict[str, str], torch.Tensor]:
    """Stream every tensor into shards; the sha256 of each one's bytes, and the logits of the prompt."""
    shapes = {name: weights.shape(name) for name in weights.names()}
    require_room(folder, needed_bytes=sum(map(math.prod, shapes.values())) * weights.dtype.itemsize)
    progress = Progress(Path(config.output_dir), total=len(shapes), unit="tensors")
    limit = int(config.max_shard_gigabytes * 1e9)
    written = 0
    with ShardWriter(folder, dtype=weights.dtype, max_shard_bytes=limit) as writer:
        writer.plan(shapes)

        def write(name: str, pieces: Iterator[torch.Tensor]) -> None:
            nonlocal written
            writer.write(name, pieces)
            written += 1
            progress.update(written)

        logits = walk(weights, config=model_config, visit=write)
    if set(writer.digests) != set(shapes):
        odd = sorted(set(writer.digests) ^ set(shapes))
        raise OneRecError(f"{folder}: {odd[0]} was not written; the model has a part that this does not know")
    if not logits.isfinite().all():
        raise OneRecError(
            f"{weights.trained.folder} gives logits that are not finite: its weights hold NaN or infinity; "
            "convert an earlier step"
        )
    return writer.digests, logits


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
        "started_from": Path(config.model_dir).name,
        "base_model": origin.base_model,
        "tokens": origin.tokens,
        "samples": origin.samples,
        "data_fingerprint": origin.data_fingerprint,
        "proved": dict(origin.proofs),
    }
