"""Write checkpoints while training goes on: copied to memory at once, to disk by a thread of its own.

At most one is on its way. A save that failed is told by `has_failed`, and raised by the next call.
"""

from __future__ import annotations

import shutil
import time
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions
from torch.distributed.tensor import DTensor

from onerec.checkpoint import commit
from onerec.checkpoint.best import Best, record_best
from onerec.checkpoint.crash_points import reach
from onerec.checkpoint.retention import Retention, prune
from onerec.checkpoint.state import TRAINER_NAME, TrainerState, document_of
from onerec.checkpoint.tensors import told_as_storage, write, written_by
from onerec.distributed import fault_document, gather_json, on_main, raise_told
from onerec.errors import OneRecError, StorageError
from onerec.progress import say, write_json_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from typing_extensions import Self

    from onerec.distributed import World

Tensors = dict[str, dict[str, torch.Tensor]]
"""Named tensors, by the folder of a checkpoint that they are written to."""
HEADROOM, HEADROOM_BYTES = 1.02, 1 << 20
"""Room that is asked for beyond the tensors' bytes: indexes and records come on top."""
LAST_WAIT_SECONDS = 120.0
"""How long a trainer that ends with an error waits for the save that is on its way."""


@dataclass(frozen=True)
class Saved:
    """A checkpoint that is complete."""

    step: int
    folder: Path
    pruned: tuple[int, ...]
    """Steps whose checkpoints were removed after it."""
    stall_seconds: float
    """How long training waited: for the save before it, and for the copy."""
    write_seconds: float
    """How long the disk took, beside the training."""


class Saver:
    """Saves of one stage; all ranks make one together, call the same methods, and leave it together.

    Leaving waits for the save on its way, so that none is lost by an ending that could wait for it.
    """

    def __init__(
        self,
        stage_dir: Path,
        *,
        world: World,
        attempt: str,
        retention: Retention,
        on_saved: Callable[[Saved], None] = lambda _: None,
    ) -> None:
        """`on_saved` is told of each complete checkpoint: on rank 0, by the thread."""
        self._stage_dir, self._world = stage_dir, world
        self._attempt, self._retention, self._on_saved = attempt, retention, on_saved
        # collectives of the thread must not mix with those of the training
        self._group = dist.new_group(backend="gloo")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="save")
        self._flight: Future[Saved] | None = None
        self._stager: DefaultStager | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if fault is None:
            self.finish()
        elif self._flight is not None:
            self._wait_before_the_end(self._flight)
        self._thread.shutdown(wait=False, cancel_futures=True)
        if self._stager is not None:
            self._stager.close()

    @property
    def has_failed(self) -> bool:
        """Whether the save on its way has ended with an error; answers at once."""
        flight = self._flight
        return flight is not None and flight.done() and flight.exception() is not None

    def start(self, state: TrainerState, tensors: Tensors) -> None:
        """Begin to save; returns when `tensors` may change again, which is before the disk has them.

        Waits for the save before it. Raises StorageError, on every rank, when that one failed, or when the
        disk has no room for this one.
        """
        asked = time.monotonic()
        self.finish()
        needed = sum(_whole_bytes(tensor) for named in tensors.values() for tensor in named.values())
        with told_as_storage(self._stage_dir):
            temporary = Path(
                on_main(
                    lambda: self._begin(state.step, needed), is_main=self._world.is_main, group=self._group
                )
            )
            staged = self._staged(tensors)
        document = document_of(state)
        stall = time.monotonic() - asked
        self._flight = self._thread.submit(self._write, temporary, document, staged, stall_seconds=stall)

    def finish(self) -> Saved | None:
        """Wait for the save on its way; raises StorageError, on every rank, when it failed on any."""
        flight, self._flight = self._flight, None
        return None if flight is None else flight.result()

    def reserve(self, tensors: Tensors) -> None:
        """Take the memory that copies are made in; pinned memory takes seconds for some gigabytes."""
        self._staged(tensors)

    def _staged(self, tensors: Tensors) -> Tensors:
        """A copy in the host's memory, which is used again by the next save."""
        if self._stager is None:
            on_cuda = any(
                tensor.device.type == "cuda" for named in tensors.values() for tensor in named.values()
            )
            self._stager = DefaultStager(
                StagingOptions(
                    use_pinned_memory=on_cuda,
                    use_shared_memory=False,
                    use_async_staging=False,
                    use_non_blocking_copy=on_cuda,
                )
            )
        staged: Any = self._stager.stage(tensors)
        return dict(staged)

    def _begin(self, step: int, needed: int) -> str:
        """The temporary folder, on rank 0; told as text for the others."""
        usage = shutil.disk_usage(self._stage_dir)
        free, room = usage.free, needed * HEADROOM + HEADROOM_BYTES
        if usage.total and free < room:  # some file systems do not tell their size
            newest = commit.complete_steps(self._stage_dir)[-1:]
            raise StorageError(
                f"the checkpoint of step {step} needs {room / 1e6:,.1f} MB and {self._stage_dir} "
                f"has {free / 1e6:,.1f} MB free; nothing was written, "
                f"{f'the checkpoint of step {newest[0]} stands' if newest else 'there is none yet'}; "
                "free space or lower keep_checkpoints, then resume"
            )
        temporary = commit.begin(self._stage_dir, step, attempt=self._attempt)
        reach("before data", step=step)
        return str(temporary)

    def _write(
        self, temporary: Path, document: dict[str, Any], staged: Tensors, *, stall_seconds: float
    ) -> Saved:
        """Bring what was copied to the disk, and commit it; in the thread, on all ranks."""
        step, began = document["step"], time.monotonic()
        folder = commit.data_dir(temporary)
        with told_as_storage(self._stage_dir):
            for number, (part, named) in enumerate(staged.items()):
                if number and self._world.is_main:
                    reach("mid data", step=step)
                write(named, folder / part, group=self._group)
            known = self._facts_of_all(temporary, [folder / part for part in staged])
            answer = on_main(
                lambda: self._commit(temporary, document, known),
                is_main=self._world.is_main,
                group=self._group,
            )
        seconds = time.monotonic() - began
        saved = Saved(step, Path(answer["folder"]), tuple(answer["pruned"]), stall_seconds, seconds)
        if self._world.is_main:
            self._on_saved(saved)
        return saved

    def _facts_of_all(self, temporary: Path, folders: list[Path]) -> dict[str, commit.FileFacts]:
        """Digests of what the ranks wrote, each computed by its writer; an error of one is everybody's."""
        mine = [path for folder in folders for path in written_by(self._world.rank, folder)]
        try:
            facts = {name: vars(fact) for name, fact in commit.facts_of(temporary, mine).items()}
        except OSError as fault:
            facts = fault_document(fault)
        told = gather_json(facts, group=self._group)
        for one in told:
            raise_told(one)
        return {name: commit.FileFacts(**fact) for one in told for name, fact in one.items()}

    def _commit(
        self,
        temporary: Path,
        document: dict[str, Any],
        known: Mapping[str, commit.FileFacts],
    ) -> dict[str, Any]:
        step = document["step"]
        folder = commit.data_dir(temporary)
        write_json_atomically(folder / "dataloader" / "state.json", document["data"])
        write_json_atomically(folder / TRAINER_NAME, document)
        final = commit.commit(temporary, self._stage_dir, step, known=known)
        record_best(self._stage_dir, None if document["best"] is None else Best(**document["best"]))
        pruned = prune(self._stage_dir, self._retention)
        return {"folder": str(final), "pruned": pruned}

    def _wait_before_the_end(self, flight: Future[Saved]) -> None:
        """Let the save end that an error has overtaken; what becomes of it is told, the error goes on."""
        try:
            flight.result(timeout=LAST_WAIT_SECONDS)
        except FutureTimeoutError:
            say("warning: the checkpoint on its way was given up: other ranks do not answer", is_warning=True)
        except (OneRecError, RuntimeError) as fault:
            say(f"warning: the checkpoint on its way was not completed: {fault}", is_warning=True)


def _whole_bytes(tensor: torch.Tensor) -> int:
    """Bytes of a tensor over all ranks; copies of HSDP count once."""
    elements = tensor.shape.numel() if isinstance(tensor, DTensor) else tensor.numel()
    return int(elements) * tensor.element_size()
