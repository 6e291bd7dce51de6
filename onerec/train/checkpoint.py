"""Save and load the state of training: DCP for tensors, JSON for everything else, never pickle.

What makes a checkpoint complete, and which one to take, is decided in `commit`; the position in the data is
the loader's. Only parameters that train are written: frozen ones are in the folder that the stage started
from.
"""

from __future__ import annotations

import base64
import io
import json
import pickle
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter

from onerec.distributed import on_main
from onerec.errors import ConfigError, StorageError
from onerec.progress import write_json_atomically
from onerec.train import commit
from onerec.train.optimizer import optimizer_tensors, set_step_count

if TYPE_CHECKING:
    from torch import nn
    from torch.distributed.checkpoint.metadata import Metadata

FORMAT = 1


@dataclass(frozen=True)
class TrainerState:
    """All of a stage's state that is no tensor; small, and the same on every rank."""

    step: int
    """Optimizer steps taken."""
    loss: float
    """Loss of the last step."""
    data: dict[str, Any]
    """Position in the data, as the loader tells it."""
    packs_per_step: int
    counts: dict[str, list[int]]
    """Tokens and samples read so far, by source."""
    run: dict[str, Any]
    """What the checkpoint belongs to: stage, seed, folder the stage started from."""


def save(
    stage_dir: Path, *, state: TrainerState, model: nn.Module, optimizer: torch.optim.AdamW, is_main: bool
) -> Path | None:
    """Write and commit the checkpoint of `state.step`; all ranks call it, and rank 0 gets its folder.

    Raises StorageError on every rank when any rank could not write.
    """
    with told_as_storage(stage_dir):
        temporary = Path(on_main(lambda: str(commit.begin(stage_dir, state.step)), is_main=is_main))
        folder = temporary / f"global_step{state.step}"
        _write(trained_tensors(model), folder / "model")
        _write(optimizer_tensors(model, optimizer), folder / "optimizer")
        final = on_main(lambda: _finish(temporary, stage_dir, state), is_main=is_main)
        return Path(final) if is_main else None


def _finish(temporary: Path, stage_dir: Path, state: TrainerState) -> str:
    folder = commit.data_dir(temporary)
    write_json_atomically(folder / "dataloader" / "state.json", state.data)
    write_json_atomically(folder / "trainer.json", _document(state))
    return str(commit.commit(temporary, stage_dir, state.step))


def load_state(checkpoint: Path) -> TrainerState:
    """The JSON part of a checkpoint; raises StorageError for a checkpoint of another format."""
    path = commit.data_dir(checkpoint) / "trainer.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    if document.pop("format", None) != FORMAT:
        raise StorageError(f"{path} is not of format {FORMAT}; it was written by another version")
    document.pop("torch_rng", None)
    return TrainerState(**document)


def load_tensors(
    checkpoint: Path, *, model: nn.Module, optimizer: torch.optim.AdamW | None, step: int
) -> None:
    """Read weights, and moments if an optimizer is given, into tensors sharded anyhow; all ranks call it.

    Raises ConfigError when the checkpoint trains other parameters than this stage, StorageError when it is
    unreadable.
    """
    folder = commit.data_dir(checkpoint)
    with told_as_storage(checkpoint):
        read(trained_tensors(model), folder / "model", whose=str(checkpoint))
        if optimizer is not None:
            read(optimizer_tensors(model, optimizer), folder / "optimizer", whose=str(checkpoint))
            set_step_count(optimizer, step)
            _restore_rng(folder / "trainer.json")


def trained_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """The parameters that train, under the names that checkpoints use."""
    return {
        name: parameter.detach() for name, parameter in model.named_parameters() if parameter.requires_grad
    }


def read(tensors: dict[str, torch.Tensor], folder: Path, *, whose: str, alone: bool = False) -> None:
    """Read named tensors in place from a DCP folder; `alone` reads without the other ranks."""
    reader = SafeReader(folder)
    stored = reader.read_metadata().state_dict_metadata
    lacking, extra = sorted(set(tensors) - set(stored)), sorted(set(stored) - set(tensors))
    if lacking or (extra and not alone):
        name = (lacking or extra)[0]
        raise ConfigError(
            f"{whose} and this stage train different parameters (first: {name}); "
            "convert that checkpoint and start from the converted folder"
        )
    for name, tensor in tensors.items():
        if tuple(stored[name].size) != tuple(tensor.shape):
            raise ConfigError(
                f"{whose}: {name} has shape {tuple(stored[name].size)}, not {tuple(tensor.shape)}"
            )
    with warnings.catch_warnings():
        # that no process group is there is what `alone` says
        warnings.filterwarnings("ignore", message="torch.distributed is disabled", category=UserWarning)
        dcp.load(dict(tensors), storage_reader=reader, no_dist=alone)


class SafeReader(FileSystemReader):
    """DCP's reader, with its pickled index read through an allow-list: planted code does not run."""

    def read_metadata(self, *_: Any, **__: Any) -> Metadata:
        """The index of a DCP folder; raises StorageError where it names anything but DCP's own types."""
        with self.fs.create_stream(self.fs.concat_path(self.path, ".metadata"), "rb") as stream:
            metadata: Metadata = _MetadataUnpickler(io.BytesIO(stream.read())).load()
        if getattr(metadata, "storage_meta", None) is None:
            metadata.storage_meta = self.storage_meta()
        metadata.storage_meta.load_id = self.load_id
        return metadata


class _MetadataUnpickler(pickle.Unpickler):
    _NAMES = frozenset(
        {
            *(
                ("torch.distributed.checkpoint.metadata", name)
                for name in (
                    "Metadata",
                    "MetadataIndex",
                    "TensorStorageMetadata",
                    "BytesStorageMetadata",
                    "ChunkStorageMetadata",
                    "TensorProperties",
                    "StorageMeta",
                    "_MEM_FORMAT_ENCODING",
                )
            ),
            ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
            ("torch", "Size"),
            ("torch.serialization", "_get_layout"),
            ("collections", "OrderedDict"),
            ("pathlib", "PosixPath"),
            ("pathlib._local", "PosixPath"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        is_dtype = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if is_dtype or (module, name) in self._NAMES:
            return super().find_class(module, name)
        raise StorageError(
            f"the checkpoint's .metadata asks for {module}.{name}, which no checkpoint needs; refused"
        )


class told_as_storage:  # noqa: N801 - a context manager reads as a verb
    """Turn what disks and DCP raise into StorageError with the folder; DCP's own error is a BaseException."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, fault: BaseException | None, trace: object) -> None:
        if isinstance(fault, CheckpointException):
            causes = "; ".join(f"rank {rank}: {told[0]}" for rank, told in sorted(fault.failures.items()))
            raise StorageError(
                f"checkpoint in {self._folder}: {causes}; is the disk full or damaged?"
            ) from fault
        if isinstance(fault, OSError):
            raise StorageError(
                f"checkpoint in {self._folder}: {fault}; free space or mend the disk, then resume"
            ) from fault


def _write(tensors: dict[str, torch.Tensor], folder: Path) -> None:
    dcp.save(dict(tensors), storage_writer=FileSystemWriter(folder, sync_files=True))


def _document(state: TrainerState) -> dict[str, Any]:
    rng = base64.b64encode(bytes(torch.get_rng_state().tolist())).decode()
    return {"format": FORMAT, "torch_rng": rng, **vars(state)}


def _restore_rng(path: Path) -> None:
    encoded = json.loads(path.read_text(encoding="utf-8"))["torch_rng"]
    torch.set_rng_state(torch.tensor(list(base64.b64decode(encoded)), dtype=torch.uint8))
