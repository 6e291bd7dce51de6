"""A preview shows what training reads: the same ids and labels, whether the dataset is prepared or not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from onerec.config import DataOrder, Dataset, Mixture, PrepareConfig, PreparedDataset, PreviewConfig, Vocab
from onerec.data.loading.load import PackLoader
from onerec.data.loading.validation import open_validation
from onerec.data.preparation.prepare import prepare
from onerec.errors import ConfigError, DataError
from onerec.preview import preview
from tests.data.rows import chat, sample_rows, text, write_rows
from tests.data.tokens import CODES, LAYERS, write_tokenizer

VOCAB = Vocab(itemic_layer_n=LAYERS, vocab_size_per_layer=CODES)
MAX_LENGTH = 96
ARRAYS = ("input_ids", "labels", "position_ids", "cu_seqlens")


@pytest.fixture(scope="module")
def tokenizer_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def previewed(folder: Path, tokenizer_dir: Path, *sources: Path, **changes: Any) -> dict[str, Any]:
    """The document that the program writes."""
    dataset = Dataset(sources="rows", **{"max_length": MAX_LENGTH, **changes.pop("dataset", {})})
    config = PreviewConfig(
        output_dir=str(folder / "preview"),
        tokenizer_dir=str(tokenizer_dir),
        sources=tuple(map(str, sources)),
        dataset=dataset,
        seed=7,
        **{"vocab": VOCAB, **changes},
    )
    preview(config)
    return json.loads((folder / "preview" / "preview.json").read_bytes())


def prepared(
    folder: Path, tokenizer_dir: Path, rows: Path, name: str = "one", **dataset: Any
) -> PreparedDataset:
    """A store of the rows."""
    config = PrepareConfig(
        output_dir=str(folder / name),
        tokenizer_dir=str(tokenizer_dir),
        sources=(str(rows),),
        dataset=Dataset(sources="rows", **{"max_length": MAX_LENGTH, "num_processes": 1, **dataset}),
        vocab=VOCAB,
    )
    prepare(config)
    return PreparedDataset(name=name, store_dir=str(folder / name))


def order_of(*datasets: PreparedDataset, **changes: Any) -> DataOrder:
    return DataOrder(
        datasets=datasets,
        max_length=MAX_LENGTH,
        num_epochs=3,
        num_workers=2,
        local_shuffle_buffer_size=50,
        shuffle_seed=7,
        **changes,
    )


def loaded(order: DataOrder) -> list[dict[str, Any]]:
    """The packs of the first epoch as the loader gives them to the trainer, in the form of preview.json."""
    here = order.model_copy(update={"num_workers": 0, "num_epochs": 1})
    loader = PackLoader(here, rank=0, world_size=1, packs_per_step=1, pad_to=None)
    return [as_document(pack, loader.sources) for step in loader for pack in step.packs]


def as_document(pack: Any, sources: tuple[str, ...]) -> dict[str, Any]:
    tensors = (pack.input_ids_T, pack.labels_T, pack.position_ids_T, pack.cu_seqlens)
    return {
        **{name: tensor.tolist() for name, tensor in zip(ARRAYS, tensors, strict=True)},
        "sources": [sources[number] for number in pack.document_sources.tolist()],
        "uuids": list(pack.uuids),
    }


def documents(packs: list[dict[str, Any]]) -> dict[tuple[str, tuple[int, ...]], tuple[Any, ...]]:
    """Labels, positions and source of every document, by its uuid and ids."""
    found = {}
    for pack in packs:
        for number, uuid in enumerate(pack["uuids"]):
            part = slice(*pack["cu_seqlens"][number : number + 2])
            ids, labels, positions = (pack[name][part] for name in ARRAYS[:3])
            found[uuid, tuple(ids)] = (labels, positions, pack["sources"][number])
    return found


def test_a_prepared_dataset_shows_the_first_packs_that_the_stage_reads(
    tmp_path: Path, tokenizer_dir: Path
) -> None:
    rows = write_rows(tmp_path / "rows" / "a.parquet", sample_rows(60))
    order = order_of(prepared(tmp_path, tokenizer_dir, rows.parent))
    found = previewed(
        tmp_path, tokenizer_dir, rows, order=order, store_dir=order.datasets[0].store_dir, samples=5
    )
    packs = loaded(order)
    assert found["is_prepared"]
    assert found["packs"] == packs[: len(found["packs"])]
    shown = [uuid for pack in packs for uuid in pack["uuids"]][:5]
    assert [sample["uuid"] for sample in found["samples"]] == shown
    assert [int(uuid[-4:], 16) for uuid in shown] == [sample["row"] for sample in found["samples"]]
    assert {sample["file"] for sample in found["samples"]} == {str(rows)}


def test_rows_that_are_not_prepared_have_the_labels_that_the_loader_will_train(
    tmp_path: Path, tokenizer_dir: Path
) -> None:
    long = text("the " * 120, number=60, source="long")
    rows = write_rows(tmp_path / "rows" / "a.parquet", [*sample_rows(60), long])
    found = previewed(tmp_path, tokenizer_dir, rows, samples=70)
    trained = documents(loaded(order_of(prepared(tmp_path, tokenizer_dir, rows.parent))))
    assert not found["is_prepared"]
    assert documents(found["packs"]) == trained
    assert sum(sample["source"] == "long" for sample in found["samples"]) == 2


def test_a_preview_holds_as_many_samples_as_asked_in_whole_packs(tmp_path: Path, tokenizer_dir: Path) -> None:
    rows = write_rows(tmp_path / "rows" / "a.parquet", sample_rows(60))
    found = previewed(tmp_path, tokenizer_dir, rows, samples=4)
    assert len(found["samples"]) == sum(len(pack["uuids"]) for pack in found["packs"]) == 4
    assert all(pack["cu_seqlens"][-1] == len(pack["labels"]) <= MAX_LENGTH for pack in found["packs"])


def test_samples_are_spread_over_the_files(tmp_path: Path, tokenizer_dir: Path) -> None:
    for number in range(9):
        write_rows(tmp_path / "rows" / f"{number}.parquet", sample_rows(20, start=20 * number))
    found = previewed(tmp_path, tokenizer_dir, tmp_path / "rows", samples=3)
    assert [Path(sample["file"]).name for sample in found["samples"]] == [
        "0.parquet",
        "3.parquet",
        "6.parquet",
    ]


def test_of_a_stage_with_two_datasets_only_packs_with_samples_of_the_one_are_shown(
    tmp_path: Path, tokenizer_dir: Path
) -> None:
    first = write_rows(tmp_path / "a" / "a.parquet", sample_rows(60))
    second = write_rows(tmp_path / "b" / "b.parquet", sample_rows(6, start=100))
    order = order_of(
        prepared(tmp_path, tokenizer_dir, first, "one"), prepared(tmp_path, tokenizer_dir, second, "two")
    )
    found = previewed(
        tmp_path, tokenizer_dir, second, order=order, store_dir=order.datasets[1].store_dir, samples=4
    )
    own = {f"{number:04x}" for number in range(100, 106)}
    packs = [pack for pack in loaded(order) if any(uuid[-4:] in own for uuid in pack["uuids"])]
    assert found["packs"] == packs[: len(found["packs"])]
    assert len(found["samples"]) == 4
    assert all(sample["uuid"][-4:] in own for sample in found["samples"])
    assert {sample["file"] for sample in found["samples"]} == {str(second)}


def test_a_dataset_that_is_only_evaluated_shows_its_first_validation_packs(
    tmp_path: Path, tokenizer_dir: Path
) -> None:
    first = write_rows(tmp_path / "a" / "a.parquet", sample_rows(30))
    second = write_rows(tmp_path / "b" / "b.parquet", sample_rows(20, start=100))
    apart = prepared(tmp_path, tokenizer_dir, second, "two")
    order = order_of(prepared(tmp_path, tokenizer_dir, first, "one"), validation=apart)
    found = previewed(tmp_path, tokenizer_dir, second, order=order, store_dir=apart.store_dir, samples=4)
    evaluated = open_validation(order, rank=0, world_size=1, pad_to=None, max_packs=None)
    assert evaluated is not None
    packs = [as_document(pack, evaluated.sources) for pack in evaluated]
    assert found["packs"] == packs[: len(found["packs"])]
    assert len(found["samples"]) == 4
    assert {sample["file"] for sample in found["samples"]} == {str(second)}
    assert found["is_evaluated"]
    assert all(sample["is_held_out"] for sample in found["samples"])


def test_a_dataset_that_the_mixture_leaves_out_is_told(tmp_path: Path, tokenizer_dir: Path) -> None:
    rows = [write_rows(tmp_path / name / "a.parquet", sample_rows(30)) for name in ("a", "b")]
    stores = [prepared(tmp_path, tokenizer_dir, *pair) for pair in zip(rows, ("one", "two"), strict=True)]
    order = order_of(*stores, mixture=Mixture(by="dataset", weights={"one": 1.0, "two": 0.0}))
    with pytest.raises(ConfigError, match=r"reads nothing of dataset 'two'; its mixture leaves it out"):
        previewed(tmp_path, tokenizer_dir, rows[1], order=order, store_dir=stores[1].store_dir)
    found = previewed(tmp_path, tokenizer_dir, rows[0], order=order, store_dir=stores[0].store_dir)
    assert {sample["file"] for sample in found["samples"]} == {str(rows[0])}


def test_a_tokenizer_without_itemic_tokens_is_expanded_aside(tmp_path: Path, tokenizer_dir: Path) -> None:
    rows = write_rows(tmp_path / "rows" / "a.parquet", sample_rows(10))
    base = write_tokenizer(tmp_path / "base", itemic=False)
    before = {path.name: path.read_bytes() for path in base.iterdir()}
    found = previewed(tmp_path, base, rows)
    assert found["packs"] == previewed(tmp_path, tokenizer_dir, rows)["packs"]
    assert {path.name: path.read_bytes() for path in base.iterdir()} == before


def test_rows_that_are_left_out_are_told_and_others_take_their_place(
    tmp_path: Path, tokenizer_dir: Path
) -> None:
    bad = {"uuid": "no", "source": "s", "metadata": None, "messages": None, "segments": '["the"]'}
    rows = write_rows(
        tmp_path / "rows" / "a.parquet", [bad, chat(("user", "the"), number=1), *sample_rows(5)]
    )
    found = previewed(tmp_path, tokenizer_dir, rows, samples=2)
    assert [(row["row"], row["reason"]) for row in found["left_out"]] == [
        (0, "uuid is not a valid UUID"),
        (1, "nothing in it is trained"),
    ]
    assert [sample["row"] for sample in found["samples"]] == [2, 3]


@pytest.mark.parametrize(
    ("overlong", "told"),
    [("drop", "max_sample_length is 96: dropped"), ("error", "max_sample_length is 96: preparing fails")],
)
def test_what_becomes_of_a_long_row_is_told(
    tmp_path: Path, tokenizer_dir: Path, overlong: str, told: str
) -> None:
    long = text("the " * 200, number=9)
    rows = write_rows(tmp_path / "rows" / "a.parquet", [long, *sample_rows(3)])
    found = previewed(tmp_path, tokenizer_dir, rows, dataset={"overlong": overlong})
    assert [row["reason"].endswith(told) for row in found["left_out"]] == [True]


def test_when_no_row_gives_a_sample_the_reasons_are_the_error(tmp_path: Path, tokenizer_dir: Path) -> None:
    silent = [chat(("user", "the"), number=number) for number in range(3)]
    rows = write_rows(tmp_path / "rows" / "a.parquet", silent)
    with pytest.raises(DataError, match=r"none of 3 rows gives a sample: .*row 0: nothing in it is trained"):
        previewed(tmp_path, tokenizer_dir, rows)


def test_other_itemic_tokens_than_those_of_the_manifest_are_refused(
    tmp_path: Path, tokenizer_dir: Path
) -> None:
    rows = write_rows(tmp_path / "rows" / "a.parquet", sample_rows(3))
    other = Vocab(itemic_layer_n=LAYERS, vocab_size_per_layer=CODES + 1)
    with pytest.raises(ConfigError, match="already has 14 itemic tokens"):
        previewed(tmp_path, tokenizer_dir, rows, vocab=other)


def test_the_parts_of_a_sample_spell_it_and_say_what_is_trained(tmp_path: Path, tokenizer_dir: Path) -> None:
    talk = chat(("user", "the 你"), ("assistant", "<|sid_begin|><s_a_1>ok"), number=1)
    rows = write_rows(tmp_path / "rows" / "a.parquet", [replace(talk, source="talk")])
    sample = previewed(tmp_path, tokenizer_dir, rows, samples=1)["samples"][0]
    parts = [(part["text"], part["kind"], part["trained"]) for part in sample["parts"]]
    assert parts == [
        ("<|im_start|>", "special", False),
        ("user\nthe 你", "text", False),
        ("<|im_end|>", "special", False),
        ("\n", "text", False),
        ("<|im_start|>", "special", False),
        ("assistant\n", "text", False),
        ("<think>", "special", True),
        ("\n\n", "text", True),
        ("</think>", "special", True),
        ("\n\n", "text", True),
        ("<|sid_begin|><s_a_1>", "itemic", True),
        ("ok", "text", True),
        ("<|im_end|>", "special", True),
        ("\n", "text", False),
        ("<|endoftext|>", "special", False),
    ]
    assert sum(part["tokens"] for part in sample["parts"]) == sample["tokens"]
    assert sum(part["tokens"] for part in sample["parts"] if part["trained"]) == sample["trained_tokens"]


def test_a_character_that_a_split_cuts_shows_its_bytes(tmp_path: Path, tokenizer_dir: Path) -> None:
    rows = write_rows(tmp_path / "rows" / "a.parquet", [text("abc你好", number=1)])
    found = previewed(tmp_path, tokenizer_dir, rows, samples=2, dataset={"max_sample_length": 4})
    spelled = ["".join(part["text"] for part in sample["parts"]) for sample in found["samples"]]
    assert spelled == ["abc\\xe4\\xbd", "\\xa0好"]


def test_rows_that_are_held_out_are_marked_where_the_dataset_is_not_prepared(
    tmp_path: Path, tokenizer_dir: Path
) -> None:
    rows = write_rows(tmp_path / "rows" / "a.parquet", sample_rows(40))
    found = previewed(tmp_path, tokenizer_dir, rows, samples=40, dataset={"validation_fraction": 0.4})
    order = order_of(prepared(tmp_path, tokenizer_dir, rows).model_copy(update={"validation_fraction": 0.4}))
    trained = {uuid for pack in loaded(order) for uuid in pack["uuids"]}
    assert {sample["uuid"] for sample in found["samples"] if not sample["is_held_out"]} == trained
    assert any(sample["is_held_out"] for sample in found["samples"])


def test_rows_with_one_uuid_are_told_apart_by_what_they_hold(tmp_path: Path, tokenizer_dir: Path) -> None:
    twins = [text(f"the {number}", number=1) for number in range(6)]
    rows = write_rows(tmp_path / "rows" / "a.parquet", twins)
    order = order_of(prepared(tmp_path, tokenizer_dir, rows))
    found = previewed(
        tmp_path, tokenizer_dir, rows, order=order, store_dir=order.datasets[0].store_dir, samples=6
    )
    told = {sample["row"]: "".join(part["text"] for part in sample["parts"]) for sample in found["samples"]}
    assert told == {number: f"the {number}<|endoftext|>" for number in range(6)}
