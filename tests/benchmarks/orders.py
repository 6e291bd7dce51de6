"""How every benchmark reads a store; light, because fresh processes that are timed import it."""

from __future__ import annotations

from pathlib import Path

from onerec.config import DataOrder, PreparedDataset

MAX_LENGTH = 32_768
SEED = 0


def data_order(store_dir: Path | str, *, num_workers: int) -> DataOrder:
    """One epoch of a store, as a stage reads it."""
    return DataOrder(
        datasets=(PreparedDataset(name="corpus", store_dir=str(store_dir)),),
        max_length=MAX_LENGTH,
        num_epochs=1,
        num_workers=num_workers,
        local_shuffle_buffer_size=100_000,
        shuffle_seed=SEED,
    )


def start_workers() -> None:
    """Start the fork server that loaders' workers come from, and wait until it is ready."""
    from onerec.data.loading.workers import worker_context

    ready = worker_context("onerec.data.loading.load").Process(target=_nothing)
    ready.start()
    ready.join()


def _nothing() -> None:
    pass
