"""Take the token files that another run has prepared of the same inputs; each run keeps its own hard links.

Names are made of all that decides what is in a file, so a file of the same name is the same file. Nothing of
another run is changed, and removing either run leaves the other whole.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from onerec.data.crew import Task
from onerec.data.store import StorePaths, read_meta
from onerec.data.tokenise import is_done, tell
from onerec.errors import DataError
from onerec.progress import sync_directory


def take_from_siblings(runs_dir: str | None, paths: StorePaths, tasks: Sequence[Task], *, base: str) -> int:
    """Take what stores below `runs_dir` have of the files that are not done; returns how many that were.

    Only stores that are complete and made with the same tokenizer and options (`base`) are looked into.
    """
    missing = {task.paths.report.name: task for task in tasks if not is_done(task.paths)}
    wanted, taken = len(missing), Counter[str]()
    for sibling in _siblings(runs_dir, paths, base) if missing else ():
        listed = {path.name for path in sibling.tokens.iterdir()}
        for name in [name for name in missing if name in listed]:
            if _take(missing[name], sibling.tokens):
                del missing[name]
                taken[str(sibling.root)] += 1
    if taken:
        sync_directory(paths.tokens)
        tell(f"{taken.total()} of {wanted} files are taken from {', '.join(taken)}, which has the same")
    return taken.total()


def _siblings(runs_dir: str | None, paths: StorePaths, base: str) -> Iterator[StorePaths]:
    """Other stores with this base, in the order of their names."""
    for meta in sorted(Path(runs_dir).glob("*/data/*/meta.json")) if runs_dir is not None else ():
        sibling = StorePaths(meta.parent)
        if meta.parent.resolve() == paths.root.resolve() or not sibling.tokens.is_dir():
            continue
        with suppress(DataError, OSError):
            found = read_meta(sibling)
            if found is not None and found.get("base") == base:
                yield sibling


def _take(task: Task, folder: Path) -> bool:
    """Link or copy the files of one input file, the report last; false when one of them is not there."""
    with suppress(FileNotFoundError):
        for target in (task.paths.tokens, task.paths.rejects, task.paths.report):
            _link(folder / target.name, target)
        return True
    return False


def _link(source: Path, target: Path) -> None:
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except FileNotFoundError:
        raise
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, temporary)
    temporary.replace(
        target
    )  # onto a link of the same file it does nothing; the store's sweep clears that up
