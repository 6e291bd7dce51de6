"""histories.parquet: every user's items in time order, and which of them were held out.

The data builder writes it and the evaluation reads it. Nothing here scores anything.

Shapes: U users, E events. The items of user u stand at offsets_U1[u] to offsets_U1[u + 1].
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from onerec.errors import DataError

SplitName = Literal["validation", "test"]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

NONE = -1
"""In place of an event: nothing is held out of this user."""
SCHEMA = pa.schema(
    [
        ("uid", pa.string()),
        ("items", pa.list_(pa.int32())),
        ("train_length", pa.int32()),
        ("validation_at", pa.int32()),
        ("test_at", pa.int32()),
    ]
)
REMEDY = "run the build_data stage again, or name the histories.parquet that it wrote"


@dataclass(frozen=True)
class Histories:
    """Users in the order of the file. Within a user items are in time order, oldest first."""

    uids: tuple[str, ...]
    offsets_U1: Int64
    items_E: Int32
    """Number of each event's item, below num_items."""
    train_lengths_U: Int64
    """The first so many items may be trained on."""
    validation_U: Int64
    """Place, within the user's items, of the validation target; NONE."""
    test_U: Int64
    """Place, within the user's items, of the test target; NONE."""
    num_items: int

    @property
    def num_users(self) -> int:
        """U."""
        return len(self.uids)

    def items(self, user: int) -> Int32:
        """All items of a user."""
        return self.items_E[self.offsets_U1[user] : self.offsets_U1[user + 1]]

    def train(self, user: int) -> Int32:
        """What may be trained on of a user."""
        return self.items(user)[: self.train_lengths_U[user]]

    @property
    def is_trained(self) -> npt.NDArray[np.bool_]:
        """Whether each event may be trained on."""
        lengths_U = np.diff(self.offsets_U1)
        places_E = np.arange(len(self.items_E)) - np.repeat(self.offsets_U1[:-1], lengths_U)
        return np.asarray(places_E < np.repeat(self.train_lengths_U, lengths_U))

    def targeted_users(self, split: SplitName) -> Int64:
        """Users who have a target, in order; `before` and `targets` are about these."""
        return np.flatnonzero(self._places(split) != NONE)

    def before(self, split: SplitName) -> list[Int32]:
        """Everything that came before the target, per user who has one."""
        places_U = self._places(split)
        return [self.items(int(user))[: places_U[user]] for user in self.targeted_users(split)]

    def targets(self, split: SplitName) -> Int64:
        """The item to be predicted, per user who has one."""
        users = self.targeted_users(split)
        return self.items_E[self.offsets_U1[users] + self._places(split)[users]].astype(np.int64)

    def only_train(self) -> Histories:
        """The same users with nothing but their training part, and no targets."""
        nobody_U = np.full(self.num_users, NONE)
        offsets_U1 = np.concatenate([[0], np.cumsum(self.train_lengths_U)])
        trained = self.items_E[self.is_trained]
        return replace(self, offsets_U1=offsets_U1, items_E=trained, validation_U=nobody_U, test_U=nobody_U)

    def _places(self, split: SplitName) -> Int64:
        return self.validation_U if split == "validation" else self.test_U


def histories_of(
    rows: Sequence[tuple[str, Sequence[int], int, int | None, int | None]], *, num_items: int
) -> Histories:
    """Histories from (uid, items, train_length, validation_at, test_at), one row a user."""
    lengths = [len(items) for _, items, *_ in rows]
    return Histories(
        uids=tuple(row[0] for row in rows),
        offsets_U1=np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]),
        items_E=np.array([item for row in rows for item in row[1]], dtype=np.int32),
        train_lengths_U=np.array([row[2] for row in rows], dtype=np.int64),
        validation_U=np.array([NONE if row[3] is None else row[3] for row in rows], dtype=np.int64),
        test_U=np.array([NONE if row[4] is None else row[4] for row in rows], dtype=np.int64),
        num_items=num_items,
    )


def write_histories(histories: Histories, path: Path) -> None:
    """Write histories.parquet in one move: readers see the whole of it or nothing."""
    offsets = pa.array(histories.offsets_U1, pa.int32())
    table = pa.table(
        [
            pa.array(histories.uids, pa.string()),
            pa.ListArray.from_arrays(offsets, pa.array(histories.items_E, pa.int32())),
            pa.array(histories.train_lengths_U, pa.int32()),
            _nullable(histories.validation_U),
            _nullable(histories.test_U),
        ],
        schema=SCHEMA,
    )
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    pq.write_table(table, temporary)
    temporary.replace(path)


def read_histories(path: Path, *, num_items: int) -> Histories:
    """Read histories.parquet of a catalogue of `num_items`; raises DataError: path, what is wrong, remedy."""
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException, KeyError) as fault:
        raise DataError(f"{path} cannot be read as histories ({fault}); {REMEDY}") from fault
    _check_columns(table, path)
    events = table.column("items").combine_chunks()
    histories = Histories(
        uids=tuple(table.column("uid").to_pylist()),
        offsets_U1=np.concatenate([[0], np.cumsum(events.value_lengths().to_numpy(), dtype=np.int64)]),
        items_E=events.flatten().to_numpy(zero_copy_only=False).astype(np.int32),
        train_lengths_U=_numbers(table, "train_length"),
        validation_U=_numbers(table, "validation_at"),
        test_U=_numbers(table, "test_at"),
        num_items=num_items,
    )
    _check(histories, path)
    return histories


def _nullable(places_U: Int64) -> pa.Array:
    return pa.array(places_U, pa.int32(), mask=places_U == NONE)


def _numbers(table: pa.Table, name: str) -> Int64:
    filled = table.column(name).fill_null(NONE)
    return np.asarray(filled.to_numpy(), dtype=np.int64)


def _check_columns(table: pa.Table, path: Path) -> None:
    for wanted in SCHEMA:
        if wanted.name not in table.column_names:
            raise DataError(f"{path} has no column {wanted.name}; {REMEDY}")
        found = table.schema.field(wanted.name).type
        if found != wanted.type:
            raise DataError(f"{path}: column {wanted.name} is {found}, not {wanted.type}; {REMEDY}")
    for name in ("uid", "items", "train_length"):
        if table.column(name).null_count or (
            name == "items" and pc.list_flatten(table.column(name)).null_count
        ):
            raise DataError(f"{path}: column {name} has nulls; {REMEDY}")


def _check(histories: Histories, path: Path) -> None:
    items_E, lengths_U = histories.items_E, np.diff(histories.offsets_U1)
    if len(items_E) and not 0 <= items_E.min() <= items_E.max() < histories.num_items:
        raise DataError(
            f"{path} names items {items_E.min()} to {items_E.max()}, but the catalogue has "
            f"{histories.num_items}; give histories and items of one build"
        )
    wrong_U = (histories.train_lengths_U < 0) | (histories.train_lengths_U > lengths_U)
    for places_U in (histories.validation_U, histories.test_U):
        has_U = places_U != NONE
        wrong_U |= has_U & ((places_U < histories.train_lengths_U) | (places_U >= lengths_U))
    if wrong_U.any():
        uid = histories.uids[int(np.flatnonzero(wrong_U)[0])]
        raise DataError(
            f"{path}: train_length, validation_at or test_at of user {uid!r} is no place; {REMEDY}"
        )
