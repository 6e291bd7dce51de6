"""What this host does to a run whatever the manifest says: its environment, and how its disk behaves.

The file system of the runs is tried with a folder of its own, which is removed again.
"""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from runner.preflight.findings import Finding, error, warning

SAFE_PATH_SINCE = (3, 11)
_PLACE = "output_dir"


def check_here(folder: Path, *, env: Mapping[str, str]) -> Iterator[Finding]:
    """What this host would spoil; `folder` is where runs are to be written, or will be."""
    yield from check_variables(env)
    yield from check_shadows(Path.cwd(), version=sys.version_info[:2])
    above = nearest_folder(folder)
    if above.is_dir() and os.access(above, os.W_OK):  # else it is told by whoever looks at output_dir
        yield from check_file_system(above)


def nearest_folder(path: Path) -> Path:
    """The folder itself, or the nearest above it that is there."""
    folder = path.absolute()
    while not folder.exists():
        folder = folder.parent
    return folder


def check_variables(env: Mapping[str, str]) -> Iterator[Finding]:
    """Variables that would change how torchrun starts; the steps do not get them."""
    found = sorted(name for name in env if name.startswith("PET_"))
    if found:
        yield warning(
            "",
            f"the environment has {', '.join(found)}, which torchrun takes for its own options",
            "unset them: the runner does not pass them on, but a torchrun of your own would obey them",
        )


def check_shadows(folder: Path, *, version: tuple[int, ...]) -> Iterator[Finding]:
    """Files of the working folder that Python before 3.11 would import instead of its own modules."""
    if version >= SAFE_PATH_SINCE:  # PYTHONSAFEPATH keeps the folder out
        return
    for name in sorted(path.stem for path in folder.glob("*.py")):
        if name in sys.stdlib_module_names:
            told = f"{folder / name}.py would be imported instead of Python's own {name}"
            yield error("", told, "rename it, or start the runner in another folder")


def check_file_system(folder: Path) -> Iterator[Finding]:
    """Whether locks lock, and a file can be replaced as a whole and flushed; all state depends on it."""
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".runner-check-") as inside:
            if not locks(Path(inside, "lock")):
                told = f"locks (flock) do not exclude one another in {folder}"
                yield error(_PLACE, told, "choose an output_dir elsewhere, or mount it with locks")
            if not replaces(Path(inside, "file")):
                told = f"a file that was replaced in {folder} still has its old content"
                yield error(_PLACE, told, "choose an output_dir elsewhere")
    except OSError as fault:
        told = f"files cannot be written, flushed, renamed and locked in {folder}: {fault.strerror}"
        yield error(_PLACE, told, "choose an output_dir elsewhere, or mend its file system")


def locks(path: Path) -> bool:
    """Whether a lock that is held cannot be taken again; raises OSError where there are no locks."""
    with path.open("w") as first, path.open("w") as second:
        fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def replaces(path: Path) -> bool:
    """Whether a file takes the place of another by rename, both flushed to the disk."""
    for text in ("old", "new"):
        temporary = path.with_suffix(".tmp")
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    return path.read_text(encoding="utf-8") == "new"
