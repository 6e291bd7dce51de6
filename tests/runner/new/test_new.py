"""A new manifest loads, says what was seen, and its comments cannot drift from the tables."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from onerec.errors import ConfigError
from onerec.vocab import ItemicVocab
from runner.gpus import Gpu
from runner.manifest import dump, load
from runner.new import look as looking
from runner.new.look import DataFacts, Facts, ModelFacts, look_at_data, look_at_model
from runner.new.text import manifest_text
from runner.new.write import SHIPPED, TEMPLATES, copy_shipped, next_step, shipped_lines, write_new

CHAT = json.dumps([{"role": "user", "content": "<|sid_begin|><s_a_3><s_b_9><s_c_1><|sid_end|>"}])
TEXT = json.dumps(["after", "<|sid_begin|><s_a_3><s_b_8200><|sid_end|>"])


def make_model(folder: Path, *, itemic: ItemicVocab | None = None, **config: Any) -> Path:
    folder.mkdir(parents=True)
    told = {"model_type": "qwen3", "num_hidden_layers": 2, "hidden_size": 32, "max_position_embeddings": 4096}
    (folder / "config.json").write_text(json.dumps({**told, **config}))
    spellings = itemic.spellings() if itemic else []
    vocab = {
        **{f"t{number}": number for number in range(300)},
        **{name: 300 + n for n, name in enumerate(spellings)},
    }
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocab}}))
    return folder


def make_rows(path: Path, **columns: list[str | None]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(looking, "visible_gpus", lambda _: ())


def write(model: str, source: str, **options: Any) -> Path:
    return write_new(Path(model), source, **{"name": None, "output": None, "env": {}, **options})


def test_a_model_and_chats_give_stage_1_and_sft() -> None:
    make_model(Path("models/Qwen3 Tiny"), tie_word_embeddings=True)
    make_rows(Path("data/a.parquet"), source=["shop", "shop"], messages=[CHAT, CHAT])

    path = write("models/Qwen3 Tiny", "data")
    manifest = load(path).manifest

    assert path == Path("qwen3-tiny.toml")
    assert manifest.name == "qwen3-tiny"
    assert manifest.model.base_model_dir == str(Path("models/Qwen3 Tiny").absolute())
    assert {name: stage.kind for name, stage in manifest.stages.items()} == {
        "expand": "expand_vocab",
        "stage1": "train",
        "sft": "train",
        "test": "test_model",
    }
    assert (manifest.vocab.itemic_layer_n, manifest.vocab.vocab_size_per_layer) == (3, 8192)
    assert manifest.datasets["sft"].max_length == 4096
    assert manifest.cluster.launcher == "local"
    text = path.read_text()
    assert "# 24,578 itemic tokens: ids 300 to 24877" in text
    assert "# codes per level; the largest seen in 2 rows is 9" in text
    assert "# 1 file; of 2 rows 2 chats, 0 texts" in text
    assert '# rows by source: "shop" 2' in text
    assert "one table for embedding and head" in text


def test_texts_give_pretraining_and_codes_that_are_seen_raise_the_sizes() -> None:
    make_model(Path("m"))
    make_rows(Path("a.parquet"), segments=[TEXT])

    manifest = load(write("m", "a.parquet", name="shop", output=Path("deep/shop.toml"))).manifest

    assert list(manifest.stages) == ["expand", "stage1", "stage2", "test"]
    assert (manifest.vocab.itemic_layer_n, manifest.vocab.vocab_size_per_layer) == (2, 16384)
    assert manifest.datasets["pretrain"].sources == str(Path("deep/../a.parquet").absolute())


@pytest.mark.parametrize(("is_told", "stages"), [(True, ["sft", "test"]), (False, ["expand", "sft", "test"])])
def test_a_model_that_is_expanded_keeps_its_sizes_and_is_not_aligned_again(
    is_told: bool, stages: list[str]
) -> None:
    folder = make_model(Path("m"), itemic=ItemicVocab(2, 8, 0))
    if is_told:
        (folder / "onerec_vocab.json").write_text("{}")
    make_rows(Path("a.parquet"), messages=[CHAT])

    manifest = load(write("m", "*.parquet")).manifest

    assert list(manifest.stages) == stages
    assert (manifest.vocab.itemic_layer_n, manifest.vocab.vocab_size_per_layer) == (2, 8)


def test_a_url_is_taken_as_it_is_and_several_gpus_get_a_process_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "visible_gpus", lambda _: (Gpu("H200", 1), Gpu("H200", 1)))
    make_model(Path("m"))

    path = write("m", "s3://bucket/sft/")

    assert load(path).manifest.datasets["sft"].sources == "s3://bucket/sft/"
    assert load(path).manifest.cluster.launcher == "torchrun"
    assert "# here: 2 x H200" in path.read_text()


def model_facts(**changes: Any) -> ModelFacts:
    told = {"folder": Path("/m"), "is_tied": False, "layers": 1, "width": 8, "positions": 64, "first_id": 9}
    return ModelFacts(**{**told, "itemic": None, "is_told": False, **changes})


@pytest.mark.parametrize(
    "model", [model_facts(), model_facts(itemic=(3, 8), is_told=True)], ids=["base", "expanded"]
)
@pytest.mark.parametrize(
    "data", [DataFacts("/d", chats=3), DataFacts("/d", texts=3, levels=3)], ids=["chat", "text"]
)
@pytest.mark.parametrize("gpus", [(), (Gpu("H200", 1),) * 8], ids=["none", "eight"])
def test_every_key_behind_a_number_sign_has_the_default_that_it_shows(
    model: ModelFacts, data: DataFacts, gpus: tuple[Gpu, ...]
) -> None:
    text = manifest_text(Facts(model, data, gpus), name="x", path=Path("x.toml"))
    Path("x.toml").write_text(text)
    shown, count = re.subn(r"(?m)^# (\w+ = [^ #].*)$", r"\1", text)
    Path("shown.toml").write_text(shown)

    assert count > 40
    loaded, uncommented = load("x.toml").manifest, load("shown.toml").manifest
    assert uncommented.model_copy(update={"training": {}}) == loaded.model_copy(update={"training": {}})
    assert all(len(line) <= 110 for line in text.splitlines())


def test_the_text_is_loaded_and_written_again_as_it_is() -> None:
    make_model(Path("m"))
    make_rows(Path("a.parquet"), messages=[CHAT])
    path = write("m", "a.parquet")

    assert dump(load(path).manifest) == dump(load(path).manifest)
    assert path.read_bytes() == load(path).text


def test_nothing_is_overwritten() -> None:
    make_model(Path("m"))
    make_rows(Path("a.parquet"), messages=[CHAT])
    Path("m.toml").write_text("mine")
    Path("link.toml").symlink_to("nowhere")

    for output in (None, Path("link.toml")):
        with pytest.raises(ConfigError, match="is there already, and is not overwritten"):
            write("m", "a.parquet", output=output)
        with pytest.raises(ConfigError, match="is there already, and is not overwritten"):
            copy_shipped("movielens", output or Path("m.toml"))
    assert Path("m.toml").read_text() == "mine"
    assert not Path("nowhere").exists()


def test_a_shipped_manifest_is_copied_whole_and_the_list_names_all() -> None:
    path = copy_shipped("onerec_1.7b", None)

    assert path.read_bytes() == (SHIPPED / "onerec_1.7b.toml").read_bytes()
    manifests = sorted(one.stem for one in SHIPPED.glob("*.toml"))
    assert [line.split()[0] for line in shipped_lines()] == [*manifests, "templates"]
    with pytest.raises(ConfigError, match="there is no manifest 'movielns'; did you mean 'movielens'\\?"):
        copy_shipped("movielns", None)
    make_model(Path("m"))
    with pytest.raises(ConfigError, match="give its data too: runner new m DATA"):
        copy_shipped("m", None)


def test_what_is_no_model_or_no_data_is_told() -> None:
    make_model(Path("llama"), model_type="llama")
    make_model(Path("m"))
    make_rows(Path("a.parquet"), messages=[CHAT])
    Path("b.parquet").write_text("no parquet")
    Path("list.json").write_text('["a.parquet", "gone.parquet"]')

    for folder, told in (("gone", "has no config.json that can be read"), ("llama", "is of type 'llama'")):
        with pytest.raises(ConfigError, match=told):
            look_at_model(Path(folder))
    for source, told in (
        ("gone", "no parquet file is there"),
        ("ftp://x", "ftp:// cannot be read"),
        ("b.parquet", "cannot be read as parquet"),
    ):
        with pytest.raises(ConfigError, match=told):
            look_at_data(source)
    assert look_at_data("list.json").files == 1
    with pytest.raises(ConfigError, match="name: 'a/b' cannot be part of a path"):
        write("m", "a.parquet", name="a/b", output=Path("o.toml"))
    assert not Path("o.toml").exists()


def test_hostile_names_of_folders_stay_text() -> None:
    folder = make_model(Path('$(touch canary); "x"\n[model]'))
    make_rows(Path("a.parquet"), messages=[CHAT])

    with pytest.raises(ConfigError, match="holds a character that is not printable"):
        write(str(folder), "a.parquet")
    make_model(Path('$(touch canary) "quoted"'))
    path = write('$(touch canary) "quoted"', "a.parquet")
    assert load(path).manifest.model.base_model_dir == str(Path('$(touch canary) "quoted"').absolute())
    assert not Path("canary").exists()


def test_the_templates_of_rows_are_copied_to_be_edited() -> None:
    path = copy_shipped("templates", Path("mine.toml"))

    assert path.read_bytes() == TEMPLATES.read_bytes()
    assert next_step("templates", path) == 'edit it, then in the build_data stage: templates = "mine.toml"'
    assert next_step("movielens", path) == "look at it, then: runner check mine.toml"
