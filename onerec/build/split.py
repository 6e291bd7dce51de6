"""What may be trained on and what is held out, user by user: the last events, or all after a moment.

A user's training part is a prefix of the events, so that nothing newer than a held-out event is trained on by
its user; with `by_time` nothing newer than the moment is trained on by anybody.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onerec.build.interactions import Int64, Interactions
from onerec.config import BuildData
from onerec.errors import DataError

NONE = -1
"""In place of an event: nothing is held out of this user."""


@dataclass(frozen=True)
class Split:
    """Three places in each user's events, counted from the user's first."""

    train_lengths_U: Int64
    """The first so many events may be trained on."""
    validation_U: Int64
    """Place of the event to be predicted from all before it, for validation; NONE."""
    test_U: Int64
    """Place of the event to be predicted from all before it, for the test; NONE."""
    moments: tuple[int, int] | None = None
    """Split by time: seconds from which events are held out for validation, and for the test."""

    def is_trained(self, interactions: Interactions) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Whether each event may be trained on."""
        lengths_U = np.diff(interactions.offsets_U1)
        places_E = np.arange(interactions.num_events) - np.repeat(interactions.offsets_U1[:-1], lengths_U)
        return np.asarray(places_E < np.repeat(self.train_lengths_U, lengths_U))

    def popularity(self, interactions: Interactions) -> Int64:
        """Number of training events of each item, (N,)."""
        trained = interactions.items_E[self.is_trained(interactions)]
        return np.bincount(trained, minlength=len(interactions.items))


def split_of(interactions: Interactions, data: BuildData) -> Split:
    """The split that the settings ask for; raises DataError as `by_time` does."""
    if data.split == "time":
        return by_time(interactions, validation_share=data.validation_share, test_share=data.test_share)
    return leave_last_out(interactions, validation=data.validation)


def leave_last_out(interactions: Interactions, *, validation: bool = True) -> Split:
    """Hold out each user's last event, and with `validation` the one before it.

    A user of two events has no validation target, a user of one has no target at all; their first event is
    trained on.
    """
    lengths_U = np.diff(interactions.offsets_U1)
    has_validation_U = (lengths_U > 2) if validation else np.zeros(len(lengths_U), dtype=bool)
    has_test_U = lengths_U > 1
    return Split(
        train_lengths_U=lengths_U - has_test_U - has_validation_U,
        validation_U=np.where(has_validation_U, lengths_U - 2, NONE),
        test_U=np.where(has_test_U, lengths_U - 1, NONE),
    )


def by_time(interactions: Interactions, *, validation_share: float, test_share: float) -> Split:
    """Hold out everybody's events from two moments on; the first event after each moment is asked for.

    The moments are such that the newest `test_share` of all events, and `validation_share` before them, are
    held out; events of one second are never torn apart. Users without an event before a moment have no
    target after it. Raises DataError when nothing is left to train on.
    """
    times_E = interactions.times_E
    ordered = np.sort(times_E)
    begins = [_moment(ordered, share) for share in (validation_share + test_share, test_share)]
    before_UM = np.stack([events_before(interactions, moment) for moment in begins], axis=1)
    if not before_UM[:, 0].any():
        raise DataError(
            "no event is older than the moment from which events are held out; "
            'lower test_share and validation_share, or use split = "leave_last_out"'
        )
    lengths_U = np.diff(interactions.offsets_U1)
    has_validation_U = (before_UM[:, 0] > 0) & (before_UM[:, 1] > before_UM[:, 0])
    has_test_U = (before_UM[:, 1] > 0) & (lengths_U > before_UM[:, 1])
    return Split(
        moments=(begins[0], begins[1]),
        train_lengths_U=before_UM[:, 0],
        validation_U=np.where(has_validation_U, before_UM[:, 0], NONE),
        test_U=np.where(has_test_U, before_UM[:, 1], NONE),
    )


def _moment(ordered_times_E: Int64, share: float) -> int:
    """The time from which the newest `share` of events begins; after all events for a share of 0."""
    held_out = round(len(ordered_times_E) * share)
    if held_out == 0:
        return int(ordered_times_E[-1]) + 1 if len(ordered_times_E) else 0
    return int(ordered_times_E[-held_out])


def events_before(interactions: Interactions, moment: int) -> Int64:
    """How many events of each user are older than the moment."""
    is_before_E = interactions.times_E < moment
    counts = np.concatenate([[0], np.cumsum(is_before_E)])
    return np.asarray(counts[interactions.offsets_U1[1:]] - counts[interactions.offsets_U1[:-1]])
