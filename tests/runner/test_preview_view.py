"""A preview as people and programs see it, from rows of every kind that a person wants to be sure of."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

from onerec.config import Dataset, PreviewConfig, Vocab
from onerec.preview import preview
from runner.preview_view import Piece, plain_text, preview_pieces, preview_text, ruler, shortened, styled_text
from tests.data.rows import chat, text, write_rows
from tests.data.tokens import CODES, LAYERS, write_tokenizer
from tests.runner.golden import assert_golden

ITEM = "<|sid_begin|><s_a_1><s_b_2><s_c_3><|sid_end|>"


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A preview of a chat of several turns, one that thinks, texts, a split one, a row that is no good."""
    folder = tmp_path_factory.mktemp("preview")
    rows = [
        chat(
            ("system", "the rules"),
            ("user", "the one\x1b[31m"),
            ("assistant", "⟦ok⟧"),
            ("user", f"after {ITEM}"),
            ("assistant", ITEM),
            source="talk",
            number=1,
        ),
        chat(("user", "why?"), ("assistant", "<think>the ok</think>yes"), source="thinks", number=2),
        chat(("user", "never answered"), number=3),
        text("the film: ", ITEM, source="history", number=4),
        text("the " * 200, source="long", number=5),
    ]
    path = write_rows(folder / "rows" / "part-0.parquet", rows)
    config = PreviewConfig(
        output_dir=str(folder / "out"),
        tokenizer_dir=str(write_tokenizer(folder / "tokenizer")),
        sources=(str(path),),
        dataset=Dataset(sources="rows", max_length=240, max_sample_length=150, add_think_pattern=True),
        vocab=Vocab(itemic_layer_n=LAYERS, vocab_size_per_layer=CODES),
        seed=0,
        samples=6,
    )
    preview(config)
    found = (folder / "out" / "preview.json").read_text().replace(str(folder), "/data")
    return {"dataset": "mixed", "stage": "sft", **json.loads(found)}


def test_the_text_is_as_it_was(document: dict[str, Any]) -> None:
    assert_golden("preview.txt", preview_text(document, has_styles=False) + "\n")


def test_a_dataset_that_is_only_evaluated_is_not_said_to_be_read_in_training(
    document: dict[str, Any],
) -> None:
    samples = [{**sample, "is_held_out": True} for sample in document["samples"]]
    evaluated = {**document, "is_prepared": True, "is_evaluated": True, "samples": samples}
    text = preview_text(evaluated, has_styles=False)
    heading = "datasets.mixed: the first 5 that stage sft is evaluated on; none is trained on"
    assert text.splitlines()[0] == heading
    assert text.count("held out: evaluated, not trained on") == len(samples) == 5


def test_the_packs_are_as_they_were(document: dict[str, Any]) -> None:
    assert_golden(
        "preview.json", json.dumps(document["packs"], indent=None).replace("]}, {", "]},\n{") + "\n"
    )


def test_on_a_terminal_the_same_is_said_with_styles_instead_of_marks(document: dict[str, Any]) -> None:
    pieces = preview_pieces(document)
    colours = Console(file=io.StringIO(), force_terminal=True, color_system="standard", width=500)
    nothing = Console(file=io.StringIO(), color_system=None, width=500)
    assert styled_text(pieces, nothing) == plain_text(pieces).replace("⟦", "").replace("⟧", "")
    assert "\x1b[7;32m\\u27e6ok\\u27e7\x1b[0m" in styled_text(pieces, colours)
    assert "the one\\x1b[31m" in styled_text(pieces, colours)


def test_the_marks_stand_around_all_that_is_trained_and_nothing_else(document: dict[str, Any]) -> None:
    text = plain_text(preview_pieces(document))
    marked = [part.partition("⟧")[0].replace("\n  | ", "\n") for part in text.split("⟦")[2:]]
    trained = []
    for sample in document["samples"]:
        before = False
        for part in sample["parts"]:
            if part["trained"]:
                spelled = part["text"].replace("⟦", "\\u27e6").replace("⟧", "\\u27e7")
                trained += [""] if not before else []
                trained[-1] += spelled
            before = part["trained"]
    assert marked == trained


@pytest.mark.parametrize(
    ("ends", "capacity", "line"),
    [
        ([0, 10], 10, "1111111111"),
        ([0, 5, 8], 10, "11111222.."),
        ([0, 1, 2, 100], 100, "3333333333"),
        ([0, *range(1, 11)], 10, "1234567890"),
    ],
)
def test_a_ruler_shows_documents_and_padding_to_scale(ends: list[int], capacity: int, line: str) -> None:
    assert ruler(ends, capacity, cells=10) == line


def test_a_long_sample_loses_its_middle_and_the_loss_is_counted() -> None:
    pieces = [Piece("a" * 60), Piece("b" * 30, "itemic", trained=True), Piece("c" * 60, trained=True)]
    short = shortened(pieces, 40)
    assert [(piece.text[:2], len(piece.text), piece.trained) for piece in short] == [
        ("aa", 20, False),
        ("\n.", 65, False),
        ("cc", 20, True),
    ]
    assert "110 characters are left out" in short[1].text
    assert shortened(pieces, 150) == pieces


def test_the_tail_of_a_shortened_sample_reads_forwards() -> None:
    short = shortened([Piece("x" * 50), Piece("one", trained=True), Piece("two")], 8)
    assert [piece.text for piece in short[2:]] == ["e", "two"]
