"""How many packs an epoch of one prepared dataset has: told in its summary, made anew when a size changes."""

from __future__ import annotations

from typing import Any

from onerec.config import DataOrder, Dataset, PreparedDataset
from onerec.data.order.plan import plan_epoch
from onerec.data.order.selection import Selection, training_key
from onerec.data.preparation.summary import packing_summary
from onerec.data.store.pool import Pool
from onerec.data.store.store import StorePaths
from onerec.progress import say, write_json_atomically


def with_packing(summary: dict[str, Any], dataset: Dataset, paths: StorePaths) -> dict[str, Any]:
    """The summary with the packs of the first epoch of the store, written down when they are new.

    They are those of a stage that reads this dataset alone, without a mixture and without what it holds out.
    Raises ConfigError when the validation_fraction leaves nothing to train on.
    """
    data = _alone(dataset, paths)
    pool = Pool(data.datasets)
    key = training_key(pool, data)
    if summary.get("packing", {}).get("plan") != key.digest:
        plan = plan_epoch(pool.lengths, key, epoch=0, drawn=Selection(pool, data).draw(epoch=0))
        packing = packing_summary(plan, pool.lengths, max_length=dataset.max_length)
        summary = {**summary, "packing": {"plan": key.digest, **packing}}
        write_json_atomically(paths.summary, summary)
    say(f"prepare: {_told(summary['packing'], fraction=dataset.validation_fraction)}")
    return summary


def _alone(dataset: Dataset, paths: StorePaths) -> DataOrder:
    """A stage that reads nothing but this dataset, each sample once."""
    store = PreparedDataset(
        name=paths.root.name, store_dir=str(paths.root), validation_fraction=dataset.validation_fraction
    )
    return DataOrder(
        datasets=(store,),
        max_length=dataset.max_length,
        num_epochs=1,
        num_workers=0,
        local_shuffle_buffer_size=dataset.local_shuffle_buffer_size,
        shuffle_memory_gigabytes=dataset.shuffle_memory_gigabytes,
        shuffle_seed=dataset.shuffle_seed or 0,
    )


def _told(packing: dict[str, Any], *, fraction: float) -> str:
    text = (
        f"{packing['packs_per_epoch']:,} packs of {packing['max_length']:,} tokens an epoch, padding "
        f"{packing['padding_fraction']:.2%}"
    )
    held_out = f"{packing['validation_samples']:,} samples, {packing['validation_tokens']:,} tokens"
    return f"{text}; {held_out} held out for validation" if fraction else text
