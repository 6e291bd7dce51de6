"""The variables of cluster.env_file: secrets that reach every process and are written nowhere.

The rank shim reads the file on its own host, so that no command line, script or record ever holds a value.
Standard library only, for the shim.
"""

from __future__ import annotations

import re
from pathlib import Path

from onerec.errors import ConfigError

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""Names that variables may have."""
OWNED = re.compile(
    r"RANK|LOCAL_RANK|WORLD_SIZE|LOCAL_WORLD_SIZE|GROUP_RANK|ROLE_.*|MASTER_ADDR|MASTER_PORT"
    r"|(TORCHELASTIC|PET|OMPI|PMIX|PRTE|SLURM|RUNNER)_.*"
)
"""Names that launchers and the runner set themselves."""


class EnvFileError(ConfigError):
    """The file cannot be read, or a line of it is no NAME=value."""


def variables_of(path: str | None) -> dict[str, str]:
    """The variables of a file, none without one; raises EnvFileError, which never tells a value.

    A line is NAME=value, with or without `export` and quotes; `#` begins a comment.
    """
    if path is None:
        return {}
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as fault:
        reason = getattr(fault, "strerror", None) or "it is not UTF-8"
        raise EnvFileError(f"cluster.env_file {path} cannot be read: {reason}; correct the path") from fault
    found: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        text = line.strip().removeprefix("export ").strip()
        if text and not text.startswith("#"):
            name, value = _pair(text, place=f"cluster.env_file {path}, line {number}")
            found[name] = value
    return found


def _pair(text: str, *, place: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    name, value = name.strip(), value.strip()
    if not equals or not VARIABLE.fullmatch(name):
        raise EnvFileError(f"{place} is no NAME=value; correct it")
    if OWNED.fullmatch(name):
        raise EnvFileError(f"{place}: {name} is set by the launcher; remove it")
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
        value = value[1:-1]
    if "\0" in value:
        raise EnvFileError(f"{place}: the value holds a NUL; remove it")
    return name, value
