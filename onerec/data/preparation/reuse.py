"""Take the token files that another run has prepared of the same inputs; each run keeps its own hard links.

Names are made of all that decides what is in a file, so a file of the same name is the same file. Nothing of
another run is changed, and removing either run leaves the other whole. Taking is optional: what goes away
meanwhile, may not be read or is damaged is passed over, and prepared here.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from onerec.data.preparation.crew import Task
from onerec.data.preparation.report import FileReport
from onerec.data.preparation.tokenise import is_done, tell
from onerec.data.preparation.write import TokenPaths
from onerec.data.store.store import StorePaths, TokenFile, read_meta
from onerec.errors import DataError
from onerec.progress import sync_directory


def take_from_siblings(runs_dir: str | None, paths: StorePaths, tasks: Sequence[Task], *, base: str) -> int:
    """Take what stores below `runs_dir` have of the files that are not done; returns how many that were.

    Only stores that are complete and made with the same tokenizer and options (`base`) are looked into.
    """
    missing = {task.paths.report.name: task for task in tasks if not is_done(task.paths)}
    wanted, taken = len(missing), Counter[str]()
    for sibling in _siblings(runs_dir, paths, base) if missing else ():
        listed = _listed(sibling.tokens)
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
    for meta in _metas(runs_dir):
        with suppress(DataError, OSError):
            sibling = StorePaths(meta.parent)
            if meta.parent.resolve() == paths.root.resolve() or not sibling.tokens.is_dir():
                continue
            found = read_meta(sibling)
            if found is not None and found.get("base") == base:
                yield sibling


def _metas(runs_dir: str | None) -> list[Path]:
    """What makes the stores below `runs_dir`, sorted; none where the folders cannot be listed."""
    with suppress(OSError):
        return sorted(Path(runs_dir).glob("*/data/*/meta.json")) if runs_dir is not None else []
    return []


def _listed(folder: Path) -> set[str]:
    """Names in a folder; none when it is gone or may not be read."""
    with suppress(OSError):
        return {path.name for path in folder.iterdir()}
    return set()


def _take(task: Task, folder: Path) -> bool:
    """Link or copy the files of one input file, the report last; false when one is not there or no good."""
    own = task.paths
    source = TokenPaths(folder / own.tokens.name, folder / own.rejects.name, folder / own.report.name)
    with suppress(OSError):
        if not _is_whole(source):
            return False
        _link(source.tokens, own.tokens)
        _link(source.rejects, own.rejects)
        _link(source.report, own.report)
        return True
    return False


def _is_whole(source: TokenPaths) -> bool:
    """Whether report and tokens can be read and agree on how many samples there are."""
    try:
        report = FileReport.from_json(json.loads(source.report.read_bytes()))
        return len(TokenFile(source.tokens)) == report.total().samples
    except (DataError, ValueError, KeyError, TypeError):
        return False


def _link(source: Path, target: Path) -> None:
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        _link_or_copy(source, temporary)
        # onto a link of the same file it does nothing; the store's sweep clears that up
        temporary.replace(target)
    except OSError:
        temporary.unlink(missing_ok=True)  # half a copy would fill a disk that is full already
        raise


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)
