"""Where a converted folder goes: never over anything, and one conversion of a checkpoint at a time."""

from __future__ import annotations

import fcntl
import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from onerec.checkpoint import commit
from onerec.checkpoint.tensors import INDEX_NAME
from onerec.errors import ConfigError, StorageError
from onerec.model.hf_folder import read_json
from onerec.model.load import tensor_files
from onerec.progress import say

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from onerec.export.locate import Located

CONVERTED = "converted"
RECORD_NAME = "conversion.json"
"""Written last: a folder that has it is a finished conversion."""


def folder_name(dtype: str) -> str:
    """`converted` for bf16, which the next stage starts from; other formats get folders of their own."""
    return CONVERTED if dtype == "bf16" else f"{CONVERTED}-{dtype}"


def finished(target: Path, located: Located, *, dtype: str) -> dict[str, Any] | None:
    """The record of a target that holds this conversion already; None where nothing is there.

    Raises ConfigError for a target that holds anything else, StorageError for this conversion when it has
    become damaged: nothing is written over.
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
    try:
        tensor_files(target)
    except ConfigError as fault:
        raise StorageError(f"{target} was converted and is damaged: {fault}; move it away first") from fault
    return record


def require_room(target: Path, *, needed_bytes: int) -> None:
    """Raise StorageError unless the disk has room for the tensors of a folder."""
    usage = shutil.disk_usage(target)
    if usage.total and usage.free < needed_bytes:  # some network file systems tell 0 of everything
        raise StorageError(
            f"{target}: the tensors need {needed_bytes / 1e9:.2f} GB, its disk has {usage.free / 1e9:.2f} GB "
            "free; free space, then convert again"
        )


@contextmanager
def alone_with(located: Located) -> Iterator[None]:
    """Hold a checkpoint, so that conversions of it follow each other; waits for one that is at work.

    What killed conversions have left in a checkpoint of ours is removed, whatever their format: it would keep
    the checkpoint from being pruned. Raises FileNotFoundError for a checkpoint that is gone.
    """
    mark = located.folder / commit.COMMIT_NAME if located.is_ours else located.tensors_dir / INDEX_NAME
    # over NFS a lock wants a file that may be written; nothing is
    with mark.open("rb+" if os.access(mark, os.W_OK) else "rb") as file:
        if _locked(file.fileno(), whose=located.folder) and located.is_ours:
            for left in commit.data_dir(located.folder).glob(f".{CONVERTED}*.tmp"):
                shutil.rmtree(left)
        yield


def _locked(descriptor: int, *, whose: Path) -> bool:
    """Lock a file; False where its file system knows no locks, and nobody can wait for anybody."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(f"{whose} is being converted by another process; waiting for its end")
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:
        return False
    return True
