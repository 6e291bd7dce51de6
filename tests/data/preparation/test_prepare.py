from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from onerec.config import Vocab, dump_config
from onerec.data.preparation.prepare import prepare
from onerec.data.store.store import Store
from onerec.errors import ConfigError, DataError
from tests.data.rows import as_columns, chat, sample_rows, text, write_rows
from tests.data.tokens import ids

REPOSITORY = Path(__file__).parents[3]


def stored(config):
    """Everything in a store, sample by sample."""
    store = Store(config.output_dir)
    samples = [store.sample(number) for number in range(len(store))]
    return [
        (
            one.uuid,
            store.sources[one.source],
            Path(one.file).name,
            one.row,
            one.input_ids.tolist(),
            one.spans.tolist(),
        )
        for one in samples
    ]


def test_a_store_holds_every_row_as_it_is_rendered(make_config, parquet_dir, renderer):
    config = make_config(parquet_dir)
    summary = prepare(config)
    wanted = []
    for number, row in enumerate(sample_rows(120)):
        rendered = renderer.render(row)
        file = f"part-{number // 40:05d}-of-00003.parquet"
        spans = [list(span) for span in rendered.spans]
        wanted.append((row.uuid, row.source, file, number % 40, rendered.input_ids.tolist(), spans))
    assert stored(config) == wanted
    lengths = [len(one[4]) for one in wanted]
    assert Store(config.output_dir).lengths.tolist() == lengths
    assert (summary["samples"], summary["tokens"], summary["reused"]) == (120, sum(lengths), False)


def test_the_summary_counts_by_source_and_says_how_packs_are_filled(make_config, tmp_path):
    rows = [
        text("<s_a_1><s_b_1>", source="a", number=1),
        text("ok", source="b", number=2),
        text("ok" * 9, source="b", number=2),
        chat(("user", "q"), ("assistant", "<s_a_1>"), source="b", number=3),
        {**as_columns(text("x", source="b")), "uuid": "no"},
        {**as_columns(text("x")), "source": None},
    ]
    write_rows(tmp_path / "a.parquet", rows)
    config = make_config(tmp_path / "a.parquet", max_length=32, max_reject_fraction=0.5)
    summary = prepare(config)
    assert {
        key: summary[key] for key in ("rows", "samples", "rejected", "duplicate_uuids", "longest_sample")
    } == {
        "rows": 6,
        "samples": 4,
        "rejected": 2,
        "duplicate_uuids": 1,
        "longest_sample": 28,
    }
    none = {"overlong_dropped": 0, "overlong_split": 0}
    rejects = [{"source is empty": 1}, {"uuid is not a valid UUID": 1}]
    empty = {"samples": 0, "tokens": 0, "trained_tokens": 0, "itemic_tokens": 0, **none}
    assert summary["sources"] == {
        "": {**empty, "rejects": rejects[0]},
        "a": {"samples": 1, "tokens": 3, "trained_tokens": 2, "itemic_tokens": 2, **none},
        "b": {
            "samples": 3,
            "tokens": 40,
            "trained_tokens": 16,
            "itemic_tokens": 1,
            **none,
            "rejects": rejects[1],
        },
    }
    assert summary["rejects"] == {**rejects[0], **rejects[1]}
    assert summary["length_histogram"] == {"2": 1, "3-4": 1, "9-16": 1, "17-32": 1}
    assert summary["packing"]["packs_per_epoch"] == 2
    assert summary["packing"]["padding_fraction"] == pytest.approx(1 - 43 / 64)
    assert json.loads((Path(config.output_dir) / "summary.json").read_text())["samples"] == 4


def test_rejected_rows_are_written_down_with_file_row_reason_and_excerpt(make_config, tmp_path):
    bad = {**as_columns(text("x")), "messages": '[{"role": "tool\x1b", "content": "a"}]', "segments": None}
    path = write_rows(tmp_path / "a.parquet", [text("ok"), bad])
    config = make_config(path, max_reject_fraction=0.5)
    prepare(config)
    [line] = (Path(config.output_dir) / "rejects.jsonl").read_text().splitlines()
    assert json.loads(line) == {
        "file": str(path),
        "row": 1,
        "source": "text",
        "reason": "a role is not user, assistant or system",
        "excerpt": '"tool\\u001b"',
    }


def test_too_many_rejects_fail_with_the_first_of_them_and_raising_the_limit_is_enough(make_config, tmp_path):
    rows = [text("ok"), *({**as_columns(text("x")), "source": ""} for _ in range(5))]
    write_rows(tmp_path / "a.parquet", rows)
    with pytest.raises(DataError) as caught:
        prepare(make_config(tmp_path / "a.parquet"))
    message = str(caught.value)
    assert "5 of 6 rows were rejected, max_reject_fraction is 0.001" in message
    assert message.count("a.parquet, row ") == 3
    assert not (tmp_path / "prepared" / "meta.json").exists()
    config = make_config(tmp_path / "a.parquet", max_reject_fraction=0.9)
    assert prepare(config)["samples"] == 1
    with pytest.raises(DataError, match="5 of 6 rows"):
        prepare(make_config(tmp_path / "a.parquet"))


def test_an_unchanged_dataset_is_taken_as_it_is_and_says_so(make_config, parquet_dir, capsys):
    config = make_config(parquet_dir)
    first = prepare(config)
    capsys.readouterr()
    before = {path: path.stat().st_mtime_ns for path in Path(config.output_dir).rglob("*") if path.is_file()}
    second = prepare(make_config(parquet_dir, num_workers=5, num_epochs=3))
    assert second == {**first, "reused": True, "seconds": second["seconds"]}
    assert "taking the prepared 120 samples" in capsys.readouterr().out
    after = {path: path.stat().st_mtime_ns for path in Path(config.output_dir).rglob("*") if path.is_file()}
    assert after == before


def test_another_pack_size_packs_anew_without_tokenising_again(make_config, parquet_dir):
    first = prepare(make_config(parquet_dir, max_sample_length=200))
    second = prepare(make_config(parquet_dir, max_sample_length=200, max_length=4000))
    assert second["reused"]
    assert second["packing"]["packs_per_epoch"] < first["packing"]["packs_per_epoch"]


@pytest.mark.parametrize(
    "change",
    [{"only_assistant_loss": False}, {"add_think_pattern": True}, {"max_length": 30}, {"overlong": "drop"}],
)
def test_options_that_change_samples_make_another_store(make_config, parquet_dir, change):
    prepare(make_config(parquet_dir))
    before = Store(make_config(parquet_dir).output_dir).fingerprint
    config = make_config(parquet_dir, **change)
    assert not prepare(config)["reused"]
    assert Store(config.output_dir).fingerprint != before


def test_a_changed_file_alone_is_tokenised_again_and_old_files_are_removed(make_config, tmp_path):
    for part in range(3):
        write_rows(tmp_path / "data" / f"{part}.parquet", sample_rows(20, start=20 * part))
    config = make_config(tmp_path / "data")
    prepare(config)
    folder = Path(config.output_dir)
    before = {path.name for path in (folder / "tokens").glob("*.arrow")}
    write_rows(tmp_path / "data" / "1.parquet", sample_rows(5, start=500))
    assert prepare(config)["samples"] == 45
    after = {path.name for path in (folder / "tokens").glob("*.arrow")}
    assert (len(before & after), len(after)) == (2, 3)
    assert len(list(folder.glob("index-*"))) == 1


def test_the_fingerprint_stays_when_the_files_move_as_they_are(make_config, tmp_path):
    for folder in ("one", "two"):
        write_rows(tmp_path / folder / "a.parquet", sample_rows(20))
    fingerprints = []
    for folder in ("one", "two"):
        config = make_config(tmp_path / folder)
        assert not prepare(config)["reused"]
        fingerprints.append(Store(config.output_dir).fingerprint)
    assert fingerprints[0] == fingerprints[1]


def test_long_texts_are_split_and_long_chats_dropped_and_both_are_counted(make_config, tmp_path):
    rows = [text("abcdefg", number=1), chat(("user", "q" * 90), ("assistant", "a"), number=2)]
    write_rows(tmp_path / "a.parquet", rows)
    config = make_config(tmp_path / "a.parquet", max_sample_length=5)
    summary = prepare(config)
    assert (summary["overlong_split"], summary["overlong_dropped"], summary["duplicate_uuids"]) == (1, 1, 0)
    first, second = stored(config)
    assert (first[4], first[5]) == (ids("a b c d e"), [[1, 5]])
    assert (second[4], second[5]) == (ids("f g <|endoftext|>"), [[0, 3]])
    with pytest.raises(DataError, match=r"no sample: 2 rows, 0 rejected, 2 too long"):
        prepare(make_config(tmp_path / "a.parquet", max_sample_length=5, overlong="drop"))
    with pytest.raises(DataError, match=r"a\.parquet, row 0: 8 tokens, max_sample_length is 5"):
        prepare(make_config(tmp_path / "a.parquet", max_sample_length=5, overlong="error"))


def test_an_unreadable_file_is_told_and_what_was_done_before_it_is_kept(make_config, tmp_path):
    good = write_rows(tmp_path / "data" / "a.parquet", sample_rows(20))
    broken = write_rows(
        tmp_path / "data" / "b.parquet", sample_rows(300), compression="none", write_page_checksum=True
    )
    whole = broken.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 4] ^= 0xFF
    broken.write_bytes(damaged)
    config = make_config(tmp_path / "data")
    with pytest.raises(DataError, match=r"b\.parquet, row group 0: cannot be read as parquet"):
        prepare(config)
    [kept] = (Path(config.output_dir) / "tokens").glob("*.arrow")
    written = kept.stat().st_mtime_ns
    assert not list((Path(config.output_dir) / "tokens").glob(".*"))
    broken.write_bytes(whole)
    assert prepare(config)["samples"] == 320
    assert kept.stat().st_mtime_ns == written
    assert good.exists()


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"max_sample_length": 300}, ConfigError, "max_sample_length 300 is above max_length 256"),
        ({"itemic_id_range": (1, 14)}, ConfigError, "itemic_id_range"),
        ({"vocab": Vocab(itemic_layer_n=2, vocab_size_per_layer=3)}, ConfigError, "<s_b_0> has id"),
        ({"tokenizer": Path("nowhere")}, ConfigError, "nowhere: no such folder"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_read(make_config, parquet_dir, change, error, match):
    config = make_config(parquet_dir, **change)
    with pytest.raises(error, match=match):
        prepare(config)
    assert not list((Path(config.output_dir) / "tokens").glob("*"))


def test_a_dataset_without_rows_is_an_error(make_config, tmp_path):
    write_rows(tmp_path / "a.parquet", [])
    with pytest.raises(DataError, match="no sample: 0 rows"):
        prepare(make_config(tmp_path / "a.parquet"))


def test_a_lost_token_file_is_made_again(make_config, parquet_dir):
    config = make_config(parquet_dir)
    prepare(config)
    before = stored(config)
    next((Path(config.output_dir) / "tokens").glob("*.arrow")).unlink()
    assert not prepare(config)["reused"]
    assert stored(config) == before


def test_processes_write_the_same_store_as_one(make_config, parquet_dir, tmp_path, monkeypatch):
    alone = make_config(parquet_dir, num_processes=1)
    prepare(alone)
    wanted, fingerprint = stored(alone), Store(alone.output_dir).fingerprint
    monkeypatch.setattr("onerec.data.preparation.tokenise.SMALL_BYTES", 0)
    together = make_config(parquet_dir, num_processes=2).model_copy(
        update={"output_dir": str(tmp_path / "two")}
    )
    prepare(together)
    assert stored(together) == wanted
    assert Store(together.output_dir).fingerprint == fingerprint


PROGRAM = """
import pathlib, sys
from onerec.config import load_config
from onerec.data.preparation import prepare, tokenise
tokenise.SMALL_BYTES = prepare.SMALL_BYTES = 0
if __name__ == "__main__":
    prepare.prepare(load_config(pathlib.Path(sys.argv[1])))
"""


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 8))])
def test_a_killed_preparation_goes_on_where_it_was(make_config, tmp_path, processes, seed):
    chance = random.Random(seed)
    for part in range(12):
        rows = sample_rows(chance.randint(400, 2000), start=10_000 * part)
        write_rows(tmp_path / "data" / f"{part:02d}.parquet", rows)
    config = make_config(tmp_path / "data", num_processes=processes)
    (tmp_path / "config.json").write_text(dump_config(config))
    (tmp_path / "program.py").write_text(PROGRAM)
    argv = [sys.executable, str(tmp_path / "program.py"), str(tmp_path / "config.json")]
    wait_for = chance.randint(1, 5)
    with subprocess.Popen(argv, cwd=REPOSITORY, stdout=subprocess.DEVNULL) as process:
        tokens = Path(config.output_dir) / "tokens"
        while process.poll() is None and len(list(tokens.glob("[!.]*.json"))) < wait_for:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    done = {path: path.stat().st_mtime_ns for path in tokens.glob("[!.]*.json")}
    assert 0 < len(done) < 12
    summary = prepare(config)
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert summary["preparation"]["files_tokenised"] == 12 - len(done)
    whole = config.model_copy(update={"output_dir": str(tmp_path / "whole")})
    prepare(whole)
    assert stored(config) == stored(whole)
    for path in Path(whole.output_dir).glob("tokens/*"):
        assert (tokens / path.name).read_bytes() == path.read_bytes()
