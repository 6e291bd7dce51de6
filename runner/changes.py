"""What a changed manifest means for a run that has begun: which keys changed, and may it go on with them?

Pure. The class of a key says what it may change; whether finished work depends on it, the decisions say.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from runner.fingerprint import PLACES
from runner.flat import label, leaves
from runner.manifest.keys import class_of_key
from runner.printable import printable

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

Verdict = Literal["harmless", "allowed on resume", "not yet used", "incompatible"]
MEANING: Mapping[Verdict, str] = {
    "harmless": "harmless",
    "allowed on resume": "allowed on resume",
    "not yet used": "new value used: nothing was made with the old one",
    "incompatible": "incompatible with what was made",
}


@dataclass(frozen=True)
class KeyChange:
    """One key of a manifest that is not as it was when the run last started."""

    key: str
    old: object
    new: object
    verdict: Verdict

    def document(self) -> dict[str, object]:
        """For the journal."""
        return asdict(self)


def key_changes(
    old: Mapping[str, object], new: Mapping[str, object], *, drifted: Collection[str]
) -> tuple[KeyChange, ...]:
    """Every key that differs between two manifests as understood, in the order of their names.

    `drifted` are the stages whose finished work was made from other settings than the new manifest's; a key
    outside of stages concerns all of them.
    """
    before, after = leaves(old), leaves(new)
    paths = sorted((path for path in before.keys() | after.keys()), key=label)
    return tuple(
        KeyChange(
            label(path),
            before.get(path),
            after.get(path),
            _verdict(path, new if path in after else old, drifted=drifted),
        )
        for path in paths
        if before.get(path) != after.get(path)
    )


def changes_text(changes: Sequence[KeyChange]) -> list[str]:
    """One line for each: `cluster.max_restarts: 2 -> 5 (allowed on resume)`."""
    return [
        printable(f"{one.key}: {_shown(one.old)} -> {_shown(one.new)} ({MEANING[one.verdict]})")
        for one in changes
    ]


def _verdict(
    path: tuple[str | int, ...], document: Mapping[str, object], *, drifted: Collection[str]
) -> Verdict:
    found = class_of_key(path, document)
    if found in {"cosmetic", "speed"}:
        return "harmless"
    if found == "topology":
        return "allowed on resume"
    concerned = path[1] in drifted if path[0] == "stages" and len(path) > 1 else bool(drifted)
    if concerned:
        return "incompatible"
    return "harmless" if path[-1] in PLACES else "not yet used"


def _shown(value: object) -> str:
    return "(not given)" if value is None else str(value)
