"""Files that another run has prepared in the same way are taken from it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from onerec.data.preparation import reuse
from onerec.data.preparation.prepare import prepare
from onerec.data.store.store import Store
from tests.data.rows import sample_rows, write_rows


@pytest.fixture
def make_run(make_config, tmp_path):
    """A config of a dataset of the run of that name; three files at first."""
    for part in range(3):
        write_rows(tmp_path / "rows" / f"{part}.parquet", sample_rows(20, start=20 * part))

    def make(run, *, dataset="pretrain", **options):
        config = make_config(tmp_path / "rows", **options)
        places = {
            "output_dir": str(tmp_path / "runs" / run / "data" / dataset),
            "runs_dir": str(tmp_path / "runs"),
        }
        return config.model_copy(update=places)

    return make


def work(summary):
    return summary["preparation"]["files_tokenised"], summary["preparation"]["files_taken_from_other_runs"]


def contents(config):
    folder = Path(config.output_dir)
    found = [*folder.glob("tokens/*"), *folder.glob("index-*/*"), folder / "rejects.jsonl"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_a_second_run_of_the_same_inputs_tokenises_nothing_and_says_so(make_run, capsys):
    first, second = make_run("one"), make_run("two")
    assert work(prepare(first)) == (3, 0)
    capsys.readouterr()
    assert work(prepare(second)) == (0, 3)
    told = capsys.readouterr().out
    assert f"3 of 3 files are taken from {first.output_dir}, which has the same" in told
    assert contents(second) == contents(first)
    tokens = next(Path(second.output_dir).glob("tokens/*.arrow"))
    assert tokens.stat().st_ino == (Path(first.output_dir) / "tokens" / tokens.name).stat().st_ino


def test_a_run_stays_whole_when_the_one_it_took_from_is_removed(make_run, tmp_path):
    first, second = make_run("one"), make_run("two")
    prepare(first)
    prepare(second)
    before = contents(second)
    shutil.rmtree(tmp_path / "runs" / "one")
    assert contents(second) == before
    assert prepare(second)["reused"]
    store = Store(second.output_dir)
    assert sum(len(store.sample(number).input_ids) for number in range(len(store))) == store.lengths.sum()


def test_another_dataset_of_the_same_run_is_a_sibling_too(make_run):
    prepare(make_run("one"))
    assert work(prepare(make_run("one", dataset="again", num_epochs=3, max_sample_length=256))) == (0, 3)


def test_only_the_files_that_are_the_same_are_taken(make_run, tmp_path):
    prepare(make_run("one"))
    write_rows(tmp_path / "rows" / "1.parquet", sample_rows(5, start=500))
    write_rows(tmp_path / "rows" / "3.parquet", sample_rows(5, start=600))
    second = make_run("two")
    summary = prepare(second)
    assert work(summary) == (2, 2)
    assert summary["samples"] == 50


@pytest.mark.parametrize("change", [{"only_assistant_loss": False}, {"max_length": 30}, {"overlong": "drop"}])
def test_other_options_take_nothing(make_run, change):
    prepare(make_run("one"))
    assert work(prepare(make_run("two", **change))) == (3, 0)


def test_another_tokenizer_takes_nothing(make_run, tokenizer_dir, tmp_path):
    prepare(make_run("one"))
    other = shutil.copytree(tokenizer_dir, tmp_path / "other")
    with (other / "chat_template.jinja").open("a") as template:
        template.write("{# another #}")
    assert work(prepare(make_run("two", tokenizer=other))) == (3, 0)


@pytest.mark.parametrize("harm", ["no meta", "no JSON", "another format", "no report", "no tokens", "a file"])
def test_a_store_that_is_not_whole_or_of_another_format_is_passed_over(make_run, harm):
    first = make_run("one")
    prepare(first)
    folder = Path(first.output_dir)
    meta = json.loads((folder / "meta.json").read_text())
    if harm == "no meta":
        (folder / "meta.json").unlink()
    elif harm == "no JSON":
        (folder / "meta.json").write_text("{")
    elif harm == "another format":
        (folder / "meta.json").write_text(json.dumps({**meta, "format": 0}))
    elif harm == "a file":
        shutil.rmtree(folder / "tokens")
        (folder / "tokens").touch()
    else:
        suffix = ".json" if harm == "no report" else ".arrow"
        for path in folder.glob(f"tokens/*{suffix}"):
            path.unlink()
    second = make_run("two")
    summary = prepare(second)
    assert work(summary) == (3, 0)
    assert summary["samples"] == len(Store(second.output_dir)) == 60


def test_without_hard_links_the_files_are_copied(make_run, monkeypatch):
    first, second = make_run("one"), make_run("two")
    prepare(first)

    def refuse(source, target):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(reuse.os, "link", refuse)
    assert work(prepare(second)) == (0, 3)
    assert contents(second) == contents(first)
    tokens = next(Path(second.output_dir).glob("tokens/*.arrow"))
    assert tokens.stat().st_nlink == 1


def test_a_link_that_a_kill_left_half_done_is_done_again(make_run):
    first, second = make_run("one"), make_run("two")
    prepare(first)
    tokens = Path(second.output_dir) / "tokens"
    tokens.mkdir(parents=True)
    for source in Path(first.output_dir).glob("tokens/*.arrow"):
        os.link(source, tokens / source.name)
    assert work(prepare(second)) == (0, 3)
    assert not list(tokens.glob(".*"))
    assert contents(second) == contents(first)


@pytest.mark.parametrize("suffix", [".arrow", ".json"])
@pytest.mark.parametrize("share", [0, 0.5])
def test_a_torn_file_of_a_sibling_is_passed_over_and_done_here(make_run, suffix, share):
    first, second = make_run("one"), make_run("two")
    prepare(first)
    wanted = contents(first)
    torn = min(Path(first.output_dir).glob(f"tokens/*{suffix}"))
    os.truncate(torn, int(torn.stat().st_size * share))
    assert work(prepare(second)) == (1, 2)
    assert contents(second) == wanted


def test_a_report_of_a_sibling_that_is_no_report_is_passed_over(make_run):
    first = make_run("one")
    prepare(first)
    reports = sorted(Path(first.output_dir).glob("tokens/*.json"))
    texts = ["{}", "[]", '{"rows": 1, "sources": [["a", {"rejects": {}, "x": 1}]]}']
    for path, text in zip(reports, texts, strict=True):
        path.write_text(text)
    assert work(prepare(make_run("two"))) == (3, 0)


@pytest.mark.parametrize("fault", [FileNotFoundError, PermissionError])
@pytest.mark.parametrize("method", ["iterdir", "is_dir", "glob", "read_bytes"])
def test_a_sibling_that_goes_away_or_may_not_be_read_is_passed_over(make_run, monkeypatch, method, fault):
    first = make_run("one")
    prepare(first)
    plain = getattr(Path, method)

    def refuse(path, *arguments):
        if path.name == "runs" or Path(first.output_dir) in path.parents:
            raise fault(f"{path}: refused")
        return plain(path, *arguments)

    monkeypatch.setattr(Path, method, refuse)
    assert work(prepare(make_run("two"))) == (3, 0)


def test_files_that_can_be_neither_linked_nor_copied_are_done_here_and_leave_nothing(make_run, monkeypatch):
    prepare(make_run("one"))

    def refuse(source, target):
        Path(target).write_bytes(b"half a copy")
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(reuse.os, "link", refuse)
    monkeypatch.setattr(reuse.shutil, "copyfile", refuse)
    monkeypatch.setattr("onerec.data.preparation.commit._sweep", lambda *_, **__: None)
    second = make_run("two")
    assert work(prepare(second)) == (3, 0)
    assert not list(Path(second.output_dir).glob("tokens/.*"))
