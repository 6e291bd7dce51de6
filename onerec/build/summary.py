"""What build_data has made, in figures and in lines for people.

Users without a target are counted with the reason, so that nobody is left out silently. Writes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone

from onerec.build.ids.semantic_ids import SemanticIds
from onerec.build.interactions import Interactions
from onerec.build.sources.find import Found
from onerec.build.split import NONE, Split, events_before
from onerec.build.tasks.material import Material
from onerec.config import BuildData, Vocab


@dataclass(frozen=True)
class Made:
    """What the parts have given."""

    ids: SemanticIds
    rows: Mapping[str, Counter[str]]
    """By folder and source."""
    unfed: Mapping[str, str]
    """Tasks without rows, and why."""
    seconds: float
    """That writing rows took."""

    @property
    def rows_per_second(self) -> int:
        """All folders together."""
        return round(sum(counts.total() for counts in self.rows.values()) / max(self.seconds, 1e-9))


def summary(found: Found, material: Material, made: Made, *, vocab: Vocab) -> dict[str, object]:
    """The program's result; `report` are lines for people."""
    interactions = found.interactions
    users = target_counts(interactions, material.split, material.data)
    return {
        "origin": found.origin,
        "licence": found.licence,
        "users": len(interactions.users),
        "items": len(interactions.items),
        "events": interactions.num_events,
        "remarks": list(interactions.remarks),
        "split": users,
        "rows": {name: dict(sorted(counts.items())) for name, counts in made.rows.items()},
        "tasks_left_out": dict(made.unfed),
        "rows_per_second": made.rows_per_second,
        "semantic_ids": made.ids.quality.as_json(),
        "report": _report(found, material, made, users=users, num_codes=vocab.vocab_size_per_layer),
    }


def target_counts(interactions: Interactions, split: Split, data: BuildData) -> dict[str, dict[str, int]]:
    """Users with a target, and those without by the reason, for validation and test; events by their part."""
    trained = int(split.train_lengths_U.sum())
    asked = int((split.validation_U != NONE).sum() + (split.test_U != NONE).sum())
    rest = interactions.num_events - trained - asked
    return {
        "validation": _targets(interactions, split, 0, is_wanted=wants_validation(data)),
        "test": _targets(interactions, split, 1, is_wanted=data.split != "time" or data.test_share > 0),
        "events": {"trained": trained, "asked": asked, "held_out_and_not_asked": rest},
    }


def wants_validation(data: BuildData) -> bool:
    """Whether the settings hold anything out for validation."""
    return data.validation_share > 0 if data.split == "time" else data.validation


def _targets(interactions: Interactions, split: Split, part: int, *, is_wanted: bool) -> dict[str, int]:
    """Users with a target and without one; part 0 is validation, 1 the test."""
    without_U = (split.validation_U, split.test_U)[part] == NONE
    told = {"users": int((~without_U).sum())}
    if not is_wanted:
        return {**told, "not_asked_for": int(without_U.sum())}
    if split.moments is None:
        return {**told, "too_few_events": int(without_U.sum())}
    before_U = events_before(interactions, split.moments[part])
    return {
        **told,
        "no_event_before_the_moment": int((without_U & (before_U == 0)).sum()),
        "no_event_after_the_moment": int((without_U & (before_U > 0)).sum()),
    }


def _report(
    found: Found, material: Material, made: Made, *, users: dict[str, dict[str, int]], num_codes: int
) -> list[str]:
    interactions = found.interactions
    return [
        f"{len(interactions.users):,} users, {len(interactions.items):,} items, "
        f"{interactions.num_events:,} events from {found.origin}",
        *([found.licence] if found.licence else []),
        *interactions.remarks,
        *_split_lines(material.split, users),
        *made.ids.report_lines(num_codes),
        *_row_lines(made),
        *(f"no rows of {task}: {reason}" for task, reason in made.unfed.items()),
    ]


def _split_lines(split: Split, told: dict[str, dict[str, int]]) -> list[str]:
    lines = []
    for place, name in enumerate(("validation", "test")):
        counts = dict(told[name])
        line = f"{name}: {counts.pop('users'):,} users have a target"
        if split.moments is not None:
            moment = datetime.fromtimestamp(split.moments[place], tz=timezone.utc)
            line += f", the first event from {moment:%Y-%m-%d %H:%M:%S} UTC on"
        reasons = [f"{count:,} {reason.replace('_', ' ')}" for reason, count in counts.items() if count]
        lines.append(f"{line}; without one: {', '.join(reasons)}" if reasons else line)
    events = told["events"]
    return [
        *lines,
        f"{events['trained']:,} events are trained on, {events['asked']:,} are asked for, "
        f"{events['held_out_and_not_asked']:,} are held out and not asked for",
    ]


def _row_lines(made: Made) -> list[str]:
    lines = [
        f"{name}: {counts.total():,} rows ("
        + ", ".join(f"{source} {count:,}" for source, count in sorted(counts.items()))
        + ")"
        for name, counts in made.rows.items()
        if counts
    ]
    return [*lines, f"{made.rows_per_second:,} rows a second were written"]
