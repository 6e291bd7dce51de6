"""Every fault of a tokenizer, and of those who tell about it, is told by the check that is there for it."""

import shutil

import pytest

from onerec.config import ExpandVocabConfig, Vocab
from onerec.model.expand import expand_vocab
from tests.model_test.folders import ALWAYS, document, found, tensors, unusual


def test_a_folder_that_was_never_expanded_is_sound_and_its_itemic_checks_are_skipped(tiny_programme):
    case = {"name": "item", "kind": "text", "prompt": "<|sid_begin|>"}
    checks = found(tiny_programme / "base" / "model", case)
    assert unusual(checks) == ALWAYS
    skipped = {check.name: check.detail for check in checks.values() if check.status == "skipped"}
    assert set(skipped.values()) == {"no itemic tokens: the folder was never expanded"}
    names = {"itemic tokens", "items there and back", "no twin rows", "row norms", "forward, items"}
    assert skipped.keys() == {*names, "generation, item"}


def test_the_tokenizer_of_the_base_model_is_told(folder, tiny_programme):
    shutil.copy(tiny_programme / "base" / "model" / "tokenizer.json", folder)
    checks = found(folder)
    assert unusual(checks) == {"itemic tokens": "failed"} | ALWAYS
    assert "the tokenizer has no itemic token" in checks["itemic tokens"].detail


def test_the_tokenizer_of_another_vocabulary_is_told(folder, tiny_programme, tmp_path):
    expand_vocab(
        ExpandVocabConfig(
            output_dir=str(tmp_path / "other"),
            seed=1,
            base_model_dir=str(tiny_programme / "base" / "model"),
            model_class="Qwen3ForCausalLM",
            vocab=Vocab(itemic_layer_n=2, vocab_size_per_layer=4, alignment=16),
        )
    )
    shutil.copy(tmp_path / "other" / "model" / "tokenizer.json", folder)
    checks = found(folder)
    assert unusual(checks) == {"itemic tokens": "failed"} | ALWAYS
    for told in (
        "itemic_layer_n of onerec_vocab.json is 3, the tokenizer's is 2",
        "vocab_size_per_layer of onerec_vocab.json is 8, the tokenizer's is 4",
        "last_id of onerec_vocab.json is 345, the tokenizer's is 329",
    ):
        assert told in checks["itemic tokens"].detail


def test_two_tokens_that_changed_places_are_named(folder):
    with document(folder / "tokenizer.json") as told:
        entries = {entry["content"]: entry for entry in told["added_tokens"]}
        one, other = entries["<s_a_1>"], entries["<s_c_5>"]
        one["content"], other["content"] = other["content"], one["content"]
    checks = found(folder)
    assert unusual(checks) == {"itemic tokens": "failed"} | ALWAYS
    assert "<s_a_1> at 341, not 321" in checks["itemic tokens"].detail


@pytest.mark.parametrize(
    ("flag", "told"), [("special", "skip_special_tokens=True"), ("lstrip", "is encoded as")]
)
def test_itemic_tokens_that_vanish_or_eat_spaces_are_told(folder, flag, told):
    with document(folder / "tokenizer.json") as held:
        for entry in held["added_tokens"]:
            if entry["content"] in ("<s_a_0>", "<|sid_begin|>"):
                entry[flag] = True
    checks = found(folder)
    assert unusual(checks) == {"items there and back": "failed"} | ALWAYS
    assert told in checks["items there and back"].detail


def test_a_token_that_no_longer_stands_alone_is_told(folder):
    with document(folder / "tokenizer.json") as held:
        entry = next(entry for entry in held["added_tokens"] if entry["content"] == "<s_b_3>")
        held["added_tokens"].append(entry | {"content": "<s_b", "id": 346})
        entry["normalized"] = True  # such tokens are looked for after all others
    checks = found(folder)
    assert unusual(checks) == {"itemic tokens": "failed"} | ALWAYS
    assert checks["itemic tokens"].detail.startswith("<s_b_3> is encoded as [346, ")


def test_a_folder_without_its_vocabulary_file_is_a_note(folder):
    (folder / "onerec_vocab.json").unlink()
    assert unusual(found(folder)) == {"itemic tokens": "note"} | ALWAYS


@pytest.mark.parametrize(
    ("change", "name", "told"),
    [
        ({"first_id": 321}, "itemic tokens", "first_id of onerec_vocab.json is 321, the tokenizer's is 320"),
        (
            {"vocab_size": 9},
            "table size",
            "vocab_size of onerec_vocab.json is 9, that of config.json 352",
        ),
    ],
)
def test_a_vocabulary_file_that_says_otherwise_is_told(folder, change, name, told):
    with document(folder / "onerec_vocab.json") as held:
        held.update(change)
    checks = found(folder)
    assert unusual(checks).items() >= {name: "failed"}.items()
    assert checks[name].detail == told


def test_a_vocabulary_file_that_is_none_is_told(folder):
    (folder / "onerec_vocab.json").write_text("[")
    assert "onerec_vocab.json is not JSON" in found(folder)["itemic tokens"].detail


def test_tokens_without_a_row_are_told(folder):
    with tensors(folder) as held:
        held["model.embed_tokens.weight"] = held["model.embed_tokens.weight"][:340].clone()
    with document(folder / "config.json") as settings:
        settings["vocab_size"] = 340
    (folder / "onerec_vocab.json").unlink()
    checks = found(folder)
    assert unusual(checks) == {"itemic tokens": "note", "table size": "failed"} | ALWAYS
    assert checks["table size"].detail == "340 rows for 346 tokens: the last ones have none"
    assert checks["forward, text"].status == "skipped"


@pytest.mark.parametrize(
    ("file", "change", "told"),
    [
        ("config.json", {"eos_token_id": 9999}, "eos_token_id 9999 of config.json is outside the 346 tokens"),
        ("config.json", {"eos_token_id": 5}, "eos_token_id [5] of config.json does not end an answer"),
        ("generation_config.json", {"eos_token_id": 5}, "does not end an answer, [5] does"),
        (
            "generation_config.json",
            {"pad_token_id": 7},
            "pad_token_id: 294 in config.json, 7 in generation_config.json, 294 in the tokenizer",
        ),
        ("config.json", {"bos_token_id": 400}, "bos_token_id 400 of config.json is outside the 346 tokens"),
    ],
)
def test_special_ids_that_do_not_agree_are_told(folder, file, change, told):
    with document(folder / file) as held:
        held.update(change)
    checks = found(folder)
    assert unusual(checks).items() >= {"end, padding, begin": "failed"}.items()
    assert told in checks["end, padding, begin"].detail


def test_without_any_end_an_answer_would_never_end(folder):
    for name in ("config.json", "generation_config.json"):
        with document(folder / name) as held:
            held["eos_token_id"] = None
    assert "no answer would end" in found(folder)["end, padding, begin"].detail


def test_an_answer_that_does_not_end_with_the_turn_is_a_note(folder):
    for name, key in (("config.json", "eos_token_id"), ("generation_config.json", "eos_token_id")):
        with document(folder / name) as held:
            held[key] = 294
    with document(folder / "tokenizer_config.json") as held:
        held["eos_token"] = "<|endoftext|>"
    checks = found(folder)
    assert unusual(checks) == {"end, padding, begin": "note"} | ALWAYS
    assert "<|im_end|>, which ends a turn of a chat, does not" in checks["end, padding, begin"].detail


@pytest.mark.parametrize("text", ["{", "{}"])
def test_a_tokenizer_that_cannot_be_read_is_told_and_the_weights_are_checked_all_the_same(folder, text):
    (folder / "tokenizer.json").write_text(text)
    checks = found(folder)
    assert unusual(checks) == {"tokenizer loads": "failed"} | ALWAYS
    assert checks["finite"].status == "ok"
    assert checks["forward, text"].status == "skipped"
