"""Tensors of a checkpoint: written and read with DCP, whose pickled index is read through an allow-list.

Tensors may be sharded anyhow; what makes a checkpoint complete is decided in `commit`.
"""

from __future__ import annotations

import io
import pickle
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter

from onerec.errors import ConfigError, StorageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch.distributed.checkpoint.metadata import Metadata

INDEX_NAME = ".metadata"


def write(
    tensors: Mapping[str, torch.Tensor], folder: Path, *, group: dist.ProcessGroup | None = None
) -> None:
    """Write named tensors to a DCP folder, flushed to disk; all ranks of the group call it."""
    dcp.save(dict(tensors), storage_writer=FileSystemWriter(folder, sync_files=True), process_group=group)


def written_by(rank: int, folder: Path) -> list[Path]:
    """The files of a DCP folder that a rank has written; the index is rank 0's."""
    return sorted(folder.glob(f"__{rank}_*.distcp"))


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


UNPICKLING_FAULTS = (
    pickle.UnpicklingError,
    EOFError,
    AttributeError,
    ImportError,
    IndexError,
    KeyError,
    TypeError,
    ValueError,
    AssertionError,
)
"""What bytes that are no pickle, or one of other things, make `pickle` raise."""


class SafeReader(FileSystemReader):
    """DCP's reader, with its pickled index read through an allow-list: planted code does not run."""

    def read_metadata(self, *_: Any, **__: Any) -> Metadata:
        """The index of a DCP folder; raises StorageError where it names anything but DCP's own types."""
        path = Path(self.path) / INDEX_NAME
        try:
            metadata: Metadata = _MetadataUnpickler(io.BytesIO(path.read_bytes())).load()
            metadata.state_dict_metadata  # noqa: B018 - raises for a pickle of something else
        except (OSError, *UNPICKLING_FAULTS) as fault:
            raise StorageError(
                f"{path} is no index of a checkpoint ({fault}); it is missing or damaged"
            ) from fault
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
            # of a full disk DCP says "unexpected pos", so the free space is told beside its words
            causes = "; ".join(f"rank {rank}: {told[0]!r}" for rank, told in sorted(fault.failures.items()))
            raise StorageError(
                f"checkpoint in {self._folder}: {causes}; {_room(self._folder)}; "
                "free space or mend the disk, then resume"
            ) from fault
        if isinstance(fault, OSError):
            raise StorageError(
                f"checkpoint in {self._folder}: {fault}; free space or mend the disk, then resume"
            ) from fault


def _room(folder: Path) -> str:
    """How full the disk is, for people."""
    try:
        return f"the disk has {shutil.disk_usage(folder).free / 1e9:.2f} GB free"
    except OSError as fault:
        return f"the disk does not answer ({fault})"
