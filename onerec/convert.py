"""Write a checkpoint as a Hugging Face folder, tensor by tensor, and prove it before it gets its name.

Parameters that trained come from the checkpoint, frozen ones from the folder that the stage started from. The
memory needed is that of the largest tensor and its cast.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM

from onerec.checkpoint import commit
from onerec.checkpoint.tensors import SafeReader, read
from onerec.errors import ConfigError, OneRecError, StorageError
from onerec.folder import whole_folder
from onerec.model.hf_folder import CONFIG_NAME, HEAD, INDEX_NAME, carried_files, read_json, write_json
from onerec.model.itemic_rows import ROWS_SUFFIX
from onerec.model.load import tensor_files
from onerec.model.safetensors_writer import ShardWriter, tensor_digest
from onerec.progress import Progress, say, sync_directory

if TYPE_CHECKING:
    from onerec.config import ConvertConfig

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
CONVERTED = "converted"
RECORD_NAME = "conversion.json"
LOADABLE_BYTES = 4_000_000_000
"""Up to this size a folder is also loaded whole with from_pretrained."""


def convert(config: ConvertConfig) -> dict[str, object]:
    """Convert one checkpoint of a training stage; returns where the folder is and how it was proved.

    A folder that is already there with the same number format is left as it is. Raises ConfigError for a step
    that is not there (telling which are), StorageError for damage and full disks.
    """
    checkpoint = choose_checkpoint(Path(config.stage_dir), config.step)
    target = commit.data_dir(checkpoint) / folder_name(config.dtype)
    if (target / RECORD_NAME).exists() and read_json(target / RECORD_NAME)["dtype"] == config.dtype:
        say(f"{target} is there already")
        record = read_json(target / RECORD_NAME)
    else:
        record = _write_folder(config, checkpoint, target)
    if config.link is not None:
        point_link(Path(config.link), target)
    return {"model_dir": str(target), **record, "report": [f"converted {checkpoint.name} to {target}"]}


def folder_name(dtype: str) -> str:
    """`converted` for bf16, which the next stage starts from; other formats get folders of their own."""
    return CONVERTED if dtype == "bf16" else f"{CONVERTED}-{dtype}"


def choose_checkpoint(stage_dir: Path, step: int | None) -> Path:
    """The checkpoint of a step, or the newest; raises ConfigError listing the steps there are."""
    steps = commit.complete_steps(stage_dir)
    if not steps or (step is not None and step not in steps):
        there = ", ".join(map(str, steps)) or "none"
        wanted = "complete checkpoint" if step is None else f"complete checkpoint of step {step}"
        raise ConfigError(f"{stage_dir} has no {wanted}; steps there: {there}")
    checkpoint = commit.step_dir(stage_dir, steps[-1] if step is None else step)
    if (fault := commit.damage(checkpoint)) is not None:
        raise StorageError(f"{fault}; convert another step")
    return checkpoint


def point_link(link: Path, target: Path) -> None:
    """Make a relative symbolic link, replacing an older one in one move."""
    link.parent.mkdir(parents=True, exist_ok=True)
    temporary = link.with_name(f".{link.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(os.path.relpath(target, link.parent))
    temporary.replace(link)
    sync_directory(link.parent)


@dataclass(frozen=True)
class Source:
    """Where the tensors of a converted folder come from: F tensors of a folder, some replaced or overlaid."""

    files: dict[str, Path]
    """Frozen tensors by name, and the safetensors file of each."""
    checkpoint_dir: Path
    trained: dict[str, tuple[int, ...]]
    """Shapes of the tensors in the checkpoint, by name."""

    def names(self) -> list[str]:
        """Names of the folder's tensors, in order."""
        whole = {name for name in self.trained if not name.endswith(ROWS_SUFFIX)}
        return sorted({*self.files, *whole})

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of one tensor."""
        if name in self.trained:
            return self.trained[name]
        with safe_open(self.files[name], framework="pt") as file:
            return tuple(file.get_slice(name).get_shape())

    def load(self, name: str) -> torch.Tensor:
        """One whole tensor in its stored number format."""
        if name in self.trained:
            return self._from_checkpoint(name)
        with safe_open(self.files[name], framework="pt") as file:
            tensor: torch.Tensor = file.get_tensor(name)
        rows = name.removesuffix("weight") + ROWS_SUFFIX
        if rows not in self.trained:
            return tensor
        new_RD = self._from_checkpoint(rows)
        table_VD = tensor.to(torch.promote_types(tensor.dtype, new_RD.dtype))
        table_VD[-len(new_RD) :] = new_RD
        return table_VD

    def _from_checkpoint(self, name: str) -> torch.Tensor:
        stored = SafeReader(self.checkpoint_dir).read_metadata().state_dict_metadata[name]
        tensor = torch.empty(stored.size, dtype=stored.properties.dtype)
        read({name: tensor}, self.checkpoint_dir, whose=str(self.checkpoint_dir), alone=True)
        return tensor


def open_source(checkpoint: Path, model_dir: Path) -> Source:
    """What a checkpoint and the folder that its stage started from hold together."""
    folder = commit.data_dir(checkpoint) / "model"
    metadata = SafeReader(folder).read_metadata().state_dict_metadata
    files = tensor_files(model_dir)
    if read_json(model_dir / CONFIG_NAME).get("tie_word_embeddings"):
        files.pop(HEAD, None)
    return Source(files, folder, {name: tuple(entry.size) for name, entry in metadata.items()})


def _write_folder(config: ConvertConfig, checkpoint: Path, target: Path) -> dict[str, Any]:
    try:
        with whole_folder(target) as folder:
            source = open_source(checkpoint, Path(config.model_dir))
            digests = _write_tensors(config, source, folder)
            _carry(Path(config.model_dir), folder, dtype=DTYPES[config.dtype])
            prove(folder, digests=digests)
            record = {
                "step": int(checkpoint.name.removeprefix("step")),
                "dtype": config.dtype,
                "tensors": len(digests),
                "checkpoint": checkpoint.name,
                "stage": Path(config.stage_dir).name,
                "started_from": config.model_dir,
            }
            write_json(folder / RECORD_NAME, record)
    except OSError as fault:
        raise StorageError(f"{target}: {fault}; free space or mend the disk, then convert again") from fault
    return record


def _write_tensors(config: ConvertConfig, source: Source, folder: Path) -> dict[str, str]:
    """Stream every tensor into shards; returns the digest of each one's bytes."""
    dtype = DTYPES[config.dtype]
    names = source.names()
    progress = Progress(Path(config.output_dir), total=len(names), unit="tensors")
    writer = ShardWriter(folder, dtype=dtype, max_shard_bytes=int(config.max_shard_gigabytes * 1e9))
    digests = {}
    writer.plan({name: source.shape(name) for name in names})
    for done, name in enumerate(names, start=1):
        tensor = source.load(name).to(dtype)
        digests[name] = tensor_digest(tensor)
        writer.write(name, tensor)
        progress.update(done)
    writer.close()
    return digests


def _carry(model_dir: Path, folder: Path, *, dtype: torch.dtype) -> None:
    """Config, tokenizer, template and the rest of the folder that the stage started from."""
    for path in carried_files(model_dir)[0]:
        if path.name not in {INDEX_NAME, CONFIG_NAME, RECORD_NAME}:
            shutil.copyfile(path, folder / path.name)
    config = read_json(model_dir / CONFIG_NAME)
    config.pop("torch_dtype", None)
    write_json(folder / CONFIG_NAME, {**config, "dtype": str(dtype).removeprefix("torch.")})


def prove(folder: Path, *, digests: dict[str, str]) -> None:
    """Check a written folder: names and shapes as transformers expects, every tensor's bytes, loading.

    Raises StorageError or OneRecError naming the tensor that is wrong.
    """
    with torch.device("meta"):
        expected = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder, local_files_only=True))
    shapes = {name: tuple(parameter.shape) for name, parameter in expected.named_parameters()}
    files = tensor_files(folder)
    if set(files) != set(shapes):
        odd = sorted(set(files) ^ set(shapes))
        raise OneRecError(f"{folder}: transformers expects other tensors than were written, first {odd[0]}")
    total_bytes = 0
    for name, path in files.items():
        with safe_open(path, framework="pt") as file:
            tensor = file.get_tensor(name)
        if tuple(tensor.shape) != shapes[name]:
            raise OneRecError(
                f"{path}: {name} has shape {tuple(tensor.shape)}, transformers expects {shapes[name]}"
            )
        if tensor_digest(tensor) != digests[name]:
            raise StorageError(
                f"{path}: {name} reads back differently than it was written; the disk is failing"
            )
        total_bytes += tensor.nbytes
    if total_bytes <= LOADABLE_BYTES:
        _load_whole(folder)


def _load_whole(folder: Path) -> None:
    _, told = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, output_loading_info=True)
    wrong = {kind: sorted(map(str, names)) for kind, names in told.items() if names}
    if wrong:
        raise OneRecError(f"{folder} does not load cleanly with from_pretrained: {wrong}")
