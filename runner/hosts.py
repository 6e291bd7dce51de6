"""A hostfile to hosts: one a line, "host slots=8", # begins a comment.

Other spellings are explained, never guessed; a name that could be an option or a command is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from onerec.errors import ConfigError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LONGEST = 253
_OPTION = re.compile(r"(slots|max_slots|max-slots)=([1-9][0-9]*)")


@dataclass(frozen=True)
class Host:
    """One line of a hostfile: a name or IPv4 address, and how many processes it takes (None: not said)."""

    name: str
    slots: int | None = None


class HostfileError(ConfigError, ValueError):
    """The hostfile does not fit; one message a line."""


def read_hostfile(path: Path) -> tuple[Host, ...]:
    """The hosts of a file, in its order; raises HostfileError when it cannot be read or understood."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise HostfileError(f"{path}: cannot be read: {fault}; check cluster.hostfile") from fault
    return parse_hostfile(text, file=str(path))


def parse_hostfile(text: str, file: str = "hostfile") -> tuple[Host, ...]:
    """The hosts of a hostfile's text, in its order; raises HostfileError with every broken line at once."""
    hosts: dict[str, Host] = {}
    faults: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        fault = _fault_of(words) or _again(words[0], hosts)
        if fault:
            faults.append(f"{file}:{number}: {fault}")
        else:
            hosts[words[0]] = Host(words[0], _slots(words))
    if not hosts and not faults:
        faults.append(f'{file}: has no host; write one a line, "host slots=8"')
    if faults:
        raise HostfileError("\n".join(faults))
    return tuple(hosts.values())


def _fault_of(words: list[str]) -> str:
    name, shown = words[0], repr(words[0])
    colon = re.fullmatch(r"([A-Za-z0-9._-]+):([0-9]+)", name)
    if colon:
        return f'{shown} is no name of a host; write "{colon[1]} slots={colon[2]}"'
    if "@" in name:
        return f"{shown} names a user; write the host only, and the user in ~/.ssh/config"
    if len(name) > _LONGEST:
        return f"{shown[:40]}... has {len(name)} characters; the name of a host has at most {_LONGEST}"
    if not _NAME.fullmatch(name):
        return f"{shown} is no name of a host; use letters, digits and '._-', the first no mark"
    for word in words[1:]:
        if not _OPTION.fullmatch(word):
            return f'{word!r} is not known; write "{name} slots=8"'
    return ""


def _again(name: str, hosts: dict[str, Host]) -> str:
    return f"{name!r} is listed twice; write it once, with all its slots" if name in hosts else ""


def _slots(words: list[str]) -> int | None:
    given = {found[1]: int(found[2]) for found in map(_OPTION.fullmatch, words[1:]) if found}
    return given.get("slots")
