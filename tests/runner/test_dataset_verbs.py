"""`runner preview` and `runner check` on a real programme, before and after anything of it has run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from onerec.config import DataOrder
from onerec.data.loading.load import PackLoader
from tests import tiny
from tests.data.rows import TEXT_COLUMNS, sample_rows, write_rows
from tests.runner.programme import runner, write_manifest

MANIFEST = """
name = "tiny"
seed = 7

[model]
base_model_dir = "{base}"

[vocab]
itemic_layer_n = 3
vocab_size_per_layer = 8
alignment = 16

[datasets.mixed]
sources = "{rows}"
max_length = 128
num_workers = 0
num_processes = 1

[training]
packs_per_step = 2
enable_gradient_checkpointing = false

[stages.expand]
kind = "expand_vocab"

[stages.first]
kind = "train"
dataset = "mixed"
learning_rate = 1e-3
max_steps = 1
"""
FACTS = {"level", "place", "message", "remedy"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows and a base model."""
    return tiny.make(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    """A folder in which the programme came to its end; read only."""
    folder = tmp_path_factory.mktemp("finished")
    ended = runner(folder, manifest(folder, base))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return folder


def manifest(folder: Path, base: Path, rows: Path | None = None) -> Path:
    path = folder / "tiny.toml"
    path.write_text(MANIFEST.format(base=base / "base" / "model", rows=rows or base / "data"))
    return path


def order_of(folder: Path, **changes: object) -> DataOrder:
    """The order that the finished stage was told."""
    config = json.loads((folder / "runs/tiny/first/config.json").read_bytes())
    return DataOrder.model_validate_json(json.dumps({**config["data"], **changes}))


def first_loader(folder: Path) -> PackLoader:
    return PackLoader(order_of(folder), rank=0, world_size=1, packs_per_step=2, pad_to=None)


def packs_of(folder: Path, *arguments: object) -> list[dict[str, Any]]:
    told = runner(folder, "preview", "tiny.toml", "--dataset", "mixed", "--json", *arguments)
    assert (told.returncode, told.stderr) == (0, "")
    return json.loads(told.stdout)


def test_a_preview_before_anything_has_run_leaves_nothing_behind(tmp_path: Path, base: Path) -> None:
    manifest(tmp_path, base)
    packs = packs_of(tmp_path, "--n", 4)
    assert [set(pack) for pack in packs] == [
        {"input_ids", "labels", "position_ids", "cu_seqlens", "sources", "uuids"}
    ] * len(packs)
    assert sum(len(pack["uuids"]) for pack in packs) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.toml"]
    told = runner(tmp_path, "preview", "tiny.toml", "--dataset", "mixed")
    assert told.stdout.startswith(
        "datasets.mixed: not prepared with these settings: 3 samples of 3 rows spread over 1 file\n"
    )


def test_a_preview_of_a_prepared_dataset_is_what_the_stage_reads_first(finished: Path) -> None:
    first = next(iter(first_loader(finished))).packs[0]
    found = packs_of(finished, "--n", 1)
    assert [found[0]["input_ids"], found[0]["labels"]] == [
        first.input_ids_T.tolist(),
        first.labels_T.tolist(),
    ]
    assert (len(found), found[0]["uuids"]) == (1, list(first.uuids))
    told = runner(finished, "preview", "tiny.toml", "--dataset", "mixed")
    assert told.stdout.startswith("datasets.mixed: the first 3 that stage first reads\n")


@pytest.mark.parametrize("change", ["only_assistant_loss=false", "max_sample_length=64"])
def test_a_store_that_no_longer_fits_is_not_shown(finished: Path, change: str) -> None:
    told = runner(finished, "preview", "tiny.toml", "--dataset", "mixed", "--set", f"datasets.mixed.{change}")
    assert told.stdout.startswith("datasets.mixed: not prepared with these settings: 3 samples of")


def test_another_order_of_the_same_store_is_shown_in_that_order(finished: Path) -> None:
    found = packs_of(finished, "--n", 1, "--set", "datasets.mixed.shuffle_seed=8")
    changed = PackLoader(
        order_of(finished, shuffle_seed=8), rank=0, world_size=1, packs_per_step=1, pad_to=None
    )
    assert found[0]["uuids"] == list(next(iter(changed)).packs[0].uuids)
    assert changed.fingerprint != first_loader(finished).fingerprint


def test_rows_that_were_replaced_since_are_read_anew(finished: Path, tmp_path: Path, base: Path) -> None:
    shutil.copytree(finished, tmp_path, symlinks=True, dirs_exist_ok=True)
    manifest(tmp_path, base, write_rows(tmp_path / "other" / "a.parquet", sample_rows(5)).parent)
    told = runner(tmp_path, "preview", "tiny.toml", "--dataset", "mixed")
    assert told.stdout.startswith("datasets.mixed: not prepared with these settings: 3 samples of 3 rows")
    assert "other/a.parquet, row 0" in told.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "mixd"], "error: there is no dataset 'mixd'; did you mean 'mixed'?"),
        (["--dataset", "mixed", "--n", "0"], "argument --n: '0' is no whole number from 1 on"),
        ([], "the following arguments are required: --dataset"),
    ],
)
def test_a_wrong_call_ends_with_2(tmp_path: Path, base: Path, arguments: list[str], message: str) -> None:
    told = runner(tmp_path, "preview", manifest(tmp_path, base), *arguments)
    assert (told.returncode, told.stdout) == (2, "")
    assert message in told.stderr


def test_what_a_stage_has_to_make_first_is_told(tmp_path: Path) -> None:
    path = write_manifest(tmp_path)
    told = runner(tmp_path, "preview", path, "--dataset", "mixed")
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr == (
        "error: datasets.mixed cannot be shown yet: its tokenizer is made by stage 'base' (init_model): "
        f"not yet run; start the run with: runner {path}\n"
    )


def test_a_check_tells_what_is_in_the_data(tmp_path: Path, base: Path) -> None:
    told = runner(tmp_path, "check", manifest(tmp_path, base), "--json")
    memory, finding = json.loads(told.stdout)
    figures = finding["figures"]
    assert (memory["place"], memory["figures"]["ranks"]) == ("stages.first", 1)
    assert told.returncode == 0
    assert (set(finding), finding["level"], finding["place"]) == (
        FACTS | {"figures"},
        "info",
        "datasets.mixed",
    )
    assert (figures["files"], figures["rows"], figures["steps_per_epoch"]) == (1, 60, {"first": 13})
    summary = json.loads((base / "store" / "summary.json").read_bytes())
    assert (figures["tokens"], figures["packs_per_epoch"]) == (summary["tokens"], 25)
    text = runner(tmp_path, "check", "tiny.toml").stdout
    assert text.startswith("nothing found that would keep it from starting\n\ndataset  files  rows")
    assert "\nmixed    1      60    " in text
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.toml"]


def test_a_check_names_every_broken_file_after_what_was_found_without_reading(
    tmp_path: Path, base: Path
) -> None:
    rows = tmp_path / "rows"
    write_rows(rows / "good.parquet", sample_rows(40))
    (rows / "text.parquet").write_bytes(b"this is no parquet")
    whole = (rows / "good.parquet").read_bytes()
    (rows / "half.parquet").write_bytes(whole[: len(whole) // 2])
    path = manifest(tmp_path, base, rows)
    told = runner(tmp_path, "check", path, "--json", "--set", "model.use_tie_weights=false")
    found = json.loads(told.stdout)
    assert told.returncode == 3
    assert [(one["level"], one["place"]) for one in found] == [
        ("warning", "model.use_tie_weights"),
        ("info", "stages.first"),
        ("error", "datasets.mixed.sources"),
        ("error", "datasets.mixed.sources"),
        ("info", "datasets.mixed"),
    ]
    assert [("half" in one["message"], "text" in one["message"]) for one in found[2:4]] == [
        (True, False),
        (False, True),
    ]
    assert all(one["remedy"] for one in found if one["level"] != "info")
    fast = runner(tmp_path, "check", path, "--fast")
    assert (fast.returncode, fast.stdout) == (0, "nothing found that would keep it from starting\n")


def test_a_check_warns_of_rejects_and_refuses_more_than_there_may_be(tmp_path: Path, base: Path) -> None:
    bad = dict.fromkeys(TEXT_COLUMNS.names) | {"uuid": "no", "source": "s"}
    path = write_rows(tmp_path / "rows" / "a.parquet", [*sample_rows(30), bad])
    manifest(tmp_path, base, path.parent)
    told = runner(tmp_path, "check", "tiny.toml")
    assert told.returncode == 3
    assert (
        "error: datasets.mixed: 1 of 31 rows looked at would be rejected: 1 row: uuid is not a valid UUID "
        f'(first: {path}, row 30: "no"); correct them; preparing fails above max_reject_fraction = 0.001'
    ) in told.stdout
    lenient = runner(tmp_path, "check", "tiny.toml", "--set", "datasets.mixed.max_reject_fraction=0.5")
    assert (lenient.returncode, lenient.stdout[:8]) == (0, "warning:")


def test_a_check_tells_which_rows_a_stage_has_to_make_first(tmp_path: Path) -> None:
    told = runner(tmp_path, "check", write_manifest(tmp_path), "--json")
    assert told.returncode == 0
    assert [one for one in json.loads(told.stdout) if "figures" not in one] == [
        {
            "level": "info",
            "place": "datasets.mixed",
            "message": "not read: its rows are made by stage 'made' (build_data): not yet run",
            "remedy": "",
        }
    ]


def test_a_dataset_whose_tokenizer_is_not_made_yet_is_read_without_it(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows" / "a.parquet", sample_rows(20))
    told = runner(
        tmp_path, "check", write_manifest(tmp_path), "--json", "--set", f'datasets.mixed.sources="{rows}"'
    )
    *_, finding = json.loads(told.stdout)
    assert (told.returncode, finding["figures"]["rows"]) == (0, 20)
    assert "tokens" not in finding["figures"]
    reason = "its tokenizer is made by stage 'base' (init_model): not yet run"
    assert finding["message"].endswith(f"no estimate of tokens: {reason}")
