"""What bad input gets from the real program: told with file and row, soon, and no half-made store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from onerec.config import dump_config
from onerec.data.store.store import Store
from tests.data.rows import as_columns, chat, identifier, sample_rows, text, write_rows
from tests.data.tokens import ids

REPOSITORY = Path(__file__).parents[3]
SECONDS = 240


def run_prepare(config, folder):
    """`python -m onerec` on a config.json; fails the test when it hangs."""
    (folder / "config.json").write_text(dump_config(config))
    return subprocess.run(
        [sys.executable, "-m", "onerec", str(folder / "config.json")],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def broken_file(kind, path):
    whole = write_rows(path, sample_rows(300)).read_bytes()
    if kind == "truncated":
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "not parquet":
        path.write_bytes(b'{"uuid": 1}\n' * 100)
    elif kind == "wrong schema":
        pq.write_table(pa.table({"id": [1], "text": ["a"]}), path)
    else:
        damaged = bytearray(whole)
        damaged[len(whole) // 3] ^= 0xFF
        damaged[len(whole) // 2] ^= 0xFF
        path.write_bytes(damaged)
    return path


@pytest.mark.parametrize("kind", ["truncated", "empty", "not parquet", "wrong schema", "damaged inside"])
def test_a_file_that_is_no_sound_parquet_file_ends_preparation_by_name(kind, make_config, tmp_path):
    write_rows(tmp_path / "data" / "a.parquet", sample_rows(20))
    broken_file(kind, tmp_path / "data" / "b.parquet")
    ended = run_prepare(make_config(tmp_path / "data"), tmp_path)
    assert ended.returncode == 6
    assert f"{tmp_path}/data/b.parquet" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "prepared" / "meta.json").exists()


def image_row():
    content = [{"type": "image", "image": "a.png"}, {"type": "text", "text": "what is it?"}]
    turns = [{"role": "user", "content": content}, {"role": "assistant", "content": "a cat"}]
    return {**as_columns(text("x")), "segments": None, "messages": json.dumps(turns)}


def columns(**values):
    return {**as_columns(text("x")), **values}


BAD_ROWS = [
    (columns(segments='[{"type": "text"'), "segments is not valid JSON"),
    (
        columns(segments=None, messages='[{"role": "tool", "content": "a"}]'),
        "a role is not user, assistant or system",
    ),
    (image_row(), "content that is not text"),
    (columns(segments='[{"type": "image", "image": "b"}]'), "content that is not text"),
    (columns(metadata="[]"), "metadata is not a JSON object"),
    (columns(source=" "), "source is empty"),
    (columns(uuid="12"), "uuid is not a valid UUID"),
    (columns(segments="[]"), "neither messages nor segments"),
    (columns(messages='[{"role": "user", "content": "a"}]'), "both messages and segments"),
    (as_columns(chat(("user", "a question alone"))), "nothing in it is trained"),
    (as_columns(chat(("system", "s"), ("user", "q"))), "nothing in it is trained"),
    (columns(segments='[{"type": "text", "text": ""}]'), "nothing in it is trained"),
    (columns(segments='[{"type": "text", "text": "a\\ud83d"}]'), "text is not valid Unicode"),
    (columns(segments="[" * 990 + "]" * 990), None),
    (columns(segments="[" * 100_000), "segments is not valid JSON"),
    (columns(segments=f"[{'7' * 100_000}]"), "content without a text"),
    (columns(segments='\ufeff[{"type": "text", "text": "a"}]'), "segments is not valid JSON"),
]


def test_every_bad_row_is_told_with_file_row_and_reason_and_the_good_ones_are_kept(make_config, tmp_path):
    control = text("a\x00b\x1b[31m\x07", number=500)
    raw = columns(segments='[{"type": "text", "text": "a\x01b"}]', uuid=identifier(501))
    twice = [text("same", number=502), text("same again", number=502)]
    good = [control, raw, *twice, text("\ufeffok", number=503)]
    path = write_rows(tmp_path / "a.parquet", [*good, *(row for row, _ in BAD_ROWS)])
    config = make_config(path, max_reject_fraction=1)
    ended = run_prepare(config, tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    rejects = [
        json.loads(line) for line in (tmp_path / "prepared" / "rejects.jsonl").read_text().splitlines()
    ]
    assert [(one["file"], one["row"]) for one in rejects] == [
        (str(path), 5 + number) for number in range(len(BAD_ROWS))
    ]
    for one, (_, reason) in zip(rejects, BAD_ROWS, strict=True):
        assert one["reason"] == reason or reason is None
        assert one["excerpt"].isascii()
        assert len(one["excerpt"]) <= 160
    result = json.loads((tmp_path / "prepared" / "result.json").read_text())
    assert (result["samples"], result["rejected"], result["duplicate_uuids"]) == (5, len(BAD_ROWS), 1)
    assert f"the same uuid: {path}, row 2 and {path}, row 3" in ended.stdout
    store = Store(tmp_path / "prepared")
    assert store.sample(0).input_ids.tolist() == ids("a Ā b ě [ 3 1 m ć <|endoftext|>")
    assert store.sample(1).input_ids.tolist() == ids("a ā b <|endoftext|>")


def test_too_many_bad_rows_end_preparation_with_reasons_places_and_a_file_of_all(make_config, tmp_path):
    path = write_rows(tmp_path / "a.parquet", [text("ok"), *(row for row, _ in BAD_ROWS[:4])])
    ended = run_prepare(make_config(path), tmp_path)
    assert ended.returncode == 6
    assert "4 of 5 rows were rejected" in ended.stderr
    assert "2 x content that is not text" in ended.stderr
    assert f"{path}, row 1: segments is not valid JSON" in ended.stderr
    assert len((tmp_path / "prepared" / "rejects-failed.jsonl").read_text().splitlines()) == 4


TEN_MEGABYTES = 10_000_000


@pytest.mark.parametrize("kind", ["prose", "one character"])
def test_a_row_of_ten_megabytes_is_dealt_with_like_any_other(kind, make_config, tmp_path):
    long = "the cat ok " * (TEN_MEGABYTES // 11) if kind == "prose" else "x" * TEN_MEGABYTES
    rows = [chat(("user", "q"), ("assistant", long)), text(long, number=2), text("ok", number=1)]
    path = write_rows(tmp_path / "a.parquet", rows)
    ended = run_prepare(make_config(path, max_length=32768), tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    result = json.loads((tmp_path / "prepared" / "result.json").read_text())
    assert (result["overlong_dropped"], result["overlong_split"]) == (1, 1)
    assert result["tokens"] > 1_000_000
    assert result["longest_sample"] == 32768


def test_ten_megabytes_of_nothing_are_rejected_and_end_no_program(make_config, tmp_path):
    blank, nested = " " * TEN_MEGABYTES, "[" * TEN_MEGABYTES
    rows = [chat(("user", "q"), ("assistant", blank)), text(blank), columns(segments=nested), text("ok")]
    path = write_rows(tmp_path / "a.parquet", rows)
    ended = run_prepare(make_config(path, max_length=32768, max_reject_fraction=1), tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    result = json.loads((tmp_path / "prepared" / "result.json").read_text())
    assert result["rejects"] == {
        "more than 1,000,000 white space characters in a row": 2,
        "segments is not valid JSON": 1,
    }
    assert result["samples"] == 1
