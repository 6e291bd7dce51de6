"""The page as text; what a browser makes of it is tried in tests/testbeds/test_page.py."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import tomli

from onerec.errors import ConfigError
from runner.page import summary_line, write_page
from runner.page.gather import gather
from runner.page.happenings import happenings
from runner.page.view import view_of
from tests.runner.page.made import HOSTILE, make_run


class Page(HTMLParser):
    """Tags and attributes as a browser sees them, and the text outside of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts.append(data)
        elif self._inside != "style":
            self.text += data


def page_of(folder: Path, **more: str | int) -> str:
    path = folder / "page.html"
    write_page(make_run(folder, **more), path)  # type: ignore[arg-type]
    return path.read_text(encoding="utf-8")


def test_everything_that_happened_is_told(tmp_path: Path) -> None:
    view = view_of(gather(make_run(tmp_path)), now=0.0)
    assert (view.name, view.state, view.faults) == ("small", "interrupted", 3)
    assert str(view.reason).startswith("its runner (process 4711 on host host1) is gone since")
    assert [(one.state, one.text) for one in view.happenings] == [
        ("running", "started by process 4711 on host host1; --set seed=2 --set name=history"),
        ("killed", "second, attempt 1: killed with its runner"),
        ("killed", "its runner was killed: it wrote no end (kill -9, a lost machine, or want of memory)"),
        ("running", "went on by process 4711 on host host1"),
        ("failed", "second, attempt 2: out of gpu memory: rank 3 on host2 exited 1: CUDA out of memory"),
        ("killed", "second, attempt 3: killed with its runner"),
        ("killed", "its runner was killed: it wrote no end (kill -9, a lost machine, or want of memory)"),
    ]
    assert view.happenings[4].lines == ("Traceback (most recent call last):", "CUDA out of memory")
    assert view.attempts[6][4:] == (
        "failed",
        "1",
        "out of gpu memory",
        "rank 3 on host2",
        "OutOfMemoryError: CUDA out of memory",
    )
    assert summary_line(view) == "2 training stages, 3 faults survived"


def test_what_happened_is_told_in_the_order_of_the_journal_whatever_the_clock_said(tmp_path: Path) -> None:
    record = gather(make_run(tmp_path))
    usual = [one.text for one in happenings(record)]
    starts = (record.story.starts[0], replace(record.story.starts[1], time=0.0))
    attempts = tuple(replace(one, began=-one.began, ended=None) for one in record.story.attempts)
    moved = replace(record, story=replace(record.story, starts=starts, attempts=attempts))
    assert [one.text for one in happenings(moved)] == usual


def test_checkpoints_data_and_changes_are_told(tmp_path: Path) -> None:
    view = view_of(gather(make_run(tmp_path)), now=0.0)
    assert [name for name, _ in view.lineage] == ["base", "first", "second"]
    assert view.lineage[1] == ("first", "step300, 75 tokens")
    rows = [(tag, size, formats, role) for tag, size, _, formats, role in view.stages[0].checkpoints]
    assert rows == [("step150", "3.0 MB", "no", "kept"), ("step300", "3.0 MB", "bf16", "latest")]
    assert view.stages[0].set_aside == ("step7.quarantined-1",)
    (dataset,) = view.datasets
    assert (dataset.name, dataset.rejects) == ("mixed", (("no messages history", "2"),))
    assert dataset.sources[0] == ("history", 0.75, ("10", "75", "70", "60", "1"))
    ((_, changes),) = view.environment_changes
    assert changes == (("packages.torch", "2.11", "2.13"),)
    assert [key for key, _, is_set in view.resolved if is_set] == ["name", "seed"]
    assert "-seed = 1" in view.manifest_changes[0]
    assert view.commands[3] == (
        "first",
        "first/command.sh",
        "torchrun -m onerec /runs/first/config.json 'a b'",
    )


def test_the_page_needs_nothing_but_itself(tmp_path: Path) -> None:
    page = Page(page_of(tmp_path))
    assert not {"img", "iframe", "link rel=stylesheet", "object", "form"} & set(page.tags)
    sources = [value for name, value in page.attributes if name in {"src", "href", "action", "srcset"}]
    assert all(value.startswith(("#", "data:,")) for value in sources)
    policy = next(value for name, value in page.attributes if value.startswith("default-src"))
    digest = base64.b64encode(hashlib.sha256(page.scripts[-1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy


def test_what_comes_from_files_is_text_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "hostile").mkdir()
    plain = Page(page_of(tmp_path / "plain"))
    text = page_of(tmp_path / "hostile", source=HOSTILE, words=HOSTILE)
    hostile = Page(text)
    assert hostile.tags == plain.tags
    assert hostile.scripts[-1] == plain.scripts[-1]
    assert "<script>alert(1)</script>" in hostile.text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\\x1b[31m\\u202e" in hostile.text


def test_twenty_thousand_rows_stay_a_small_page_that_shows_the_spike(tmp_path: Path) -> None:
    text = page_of(tmp_path, rows=20_000)
    assert len(text.encode()) < 2_000_000
    assert "range 0.0" in text
    assert "to 9.75</span>" in text
    longest = max(len(path.split("L")) for path in re.findall(r'd="(M[^"]*)"', text))
    assert longest <= 400


def test_a_run_that_has_not_begun_has_a_page_too(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    run.events.unlink()
    write_page(run, tmp_path / "page.html")
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "No step has been planned yet." in page.text


def test_where_no_file_can_be_is_told(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    for output in (tmp_path, tmp_path / "none" / "page.html"):
        with pytest.raises(ConfigError, match="no file can be written there; name a file in a folder"):
            write_page(run, output)
    assert not list(tmp_path.glob(".*"))


def test_all_parts_of_the_page_are_installed() -> None:
    root = Path(__file__).parent.parent.parent.parent
    patterns = tomli.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"][
        "runner"
    ]
    installed = {path for pattern in patterns for path in (root / "runner").glob(pattern)}
    parts = {
        path for path in (root / "runner" / "page").iterdir() if path.suffix in {".jinja", ".css", ".js"}
    }
    assert len(parts) == 3
    assert parts <= installed
