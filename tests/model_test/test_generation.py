"""An answer is held against all that its case asks, and is the same when it is said again."""

import pytest
import torch

from onerec.config import GenerationCase
from onerec.model_test.generation import check_case
from onerec.vocab import ItemicVocab
from tests.model_test.folders import document, found, subject

VOCAB = ItemicVocab(layer_n=3, size_per_layer=8, first_id=320)
ITEM = VOCAB.ids_of_item((1, 2, 3))
TURN_END = 296


@pytest.fixture(scope="module")
def opened(tiny_programme):
    """A folder whose model may be made to say anything; the true generate is put back."""
    return subject(tiny_programme / "expanded" / "model")


@pytest.fixture
def saying(opened, monkeypatch):
    """Let the model say these ids, once for each list, the last one from then on."""

    def say(*answers):
        left = list(answers)

        def generate(ids, **_):
            answer = left.pop(0) if len(left) > 1 else left[0]
            return torch.cat([ids, torch.tensor([answer], dtype=ids.dtype)], dim=1)

        monkeypatch.setattr(opened.model, "generate", generate)
        return opened

    return say


def case(**keys):
    return GenerationCase(**{"name": "x", "kind": "text", "prompt": "Hello", **keys})


def words(opened, text):
    return opened.ids_of(text)


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"expect": ("a river", "stone")}, None),
        ({"expect": ("a river", "a wood")}, "lacks 'a wood'"),
        ({"expect_any": ("a wood", "stone")}, None),
        ({"expect_any": ("a wood", "a hill")}, "has none of 'a wood', 'a hill'"),
        ({"reject": ("a wood",)}, None),
        ({"reject": ("river",)}, "has 'river', which it must not"),
        ({"expect": ("<|im_end|>",)}, None),
        ({"expect_items": True}, "has no whole item"),
    ],
)
def test_words_of_an_answer(saying, opened, keys, told):
    saying([*words(opened, "a river, a stone"), TURN_END])
    finding = check_case(case(**keys), opened)
    assert (finding.status, finding.detail) == ("failed", told) if told else finding.status == "ok"


@pytest.mark.parametrize(
    ("answer", "prompt", "told"),
    [
        (ITEM, "Hello", None),
        (ITEM[1:], "Hello <|sid_begin|>", None),
        ([*ITEM, *ITEM[:2]], "Hello", None),
        ([*ITEM, *ITEM[:2], TURN_END], "Hello", "2 itemic tokens are no part of an item"),
        ([*ITEM, 321], "Hello", "1 itemic tokens are no part of an item"),
        (ITEM[:3], "Hello", "has no whole item"),
    ],
)
def test_items_of_an_answer(saying, answer, prompt, told):
    finding = check_case(case(prompt=prompt, expect_items=True), saying(answer))
    assert (finding.status, finding.detail) == ("failed", told) if told else finding.status == "ok"


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({}, "greedy again, the answer is another"),
        ({"do_sample": True, "seed": 4}, "sampled with seed 4 again, the answer is another"),
    ],
)
def test_an_answer_that_is_another_the_second_time_fails(saying, keys, told):
    finding = check_case(case(**keys), saying([1, 2], [1, 3]))
    assert (finding.status, finding.detail) == ("failed", told)


def test_an_empty_answer_fails(saying):
    assert check_case(case(), saying([])).detail == "nothing was said"


def test_the_record_tells_the_whole_answer(saying, opened):
    said = [*words(opened, "a"), *ITEM, TURN_END]
    record = dict(check_case(case(do_sample=True, top_k=3), saying(said)).record)
    assert record.pop("seconds") > 0
    assert record.pop("tokens_per_second") > 0
    assert record == {
        "name": "x",
        "kind": "text",
        "how": "sampled, temperature 0.6, top_p 0.95, top_k 3, seed 0",
        "prompt": "Hello",
        "answer": "a<|sid_begin|><s_a_1><s_b_2><s_c_3><|sid_end|><|im_end|>",
        "prompt_tokens": len(words(opened, "Hello")),
        "tokens": len(said),
        "stopped": "<|im_end|>",
        "items": {"whole": 1, "stray": 0, "is_open": False},
    }


def test_prompts_are_the_templates_with_system_message_and_thinking_off(opened):
    chat = {
        "name": "x",
        "kind": "chat",
        "messages": ({"role": "user", "content": "Hi"},),
        "max_new_tokens": 2,
    }
    thinking = check_case(GenerationCase(**chat, system="Be brief."), opened).record
    assert thinking["prompt"] == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
    silent = check_case(GenerationCase(**chat, enable_thinking=False), opened).record
    assert silent["prompt"].endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert (silent["tokens"], silent["stopped"]) == (2, "length")


def test_seeds_and_temperatures_decide_what_is_sampled_and_nothing_else_does(opened):
    def answer(**keys):
        return check_case(case(do_sample=True, max_new_tokens=12, **keys), opened).record["answer"]

    hot = {"temperature": 3.0, "top_k": 300, "top_p": 1.0}
    state = torch.random.get_rng_state()
    first = answer(seed=1, **hot)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(5)
    assert answer(seed=1, **hot) == first
    assert answer(seed=2, **hot) != first
    assert answer(seed=1, top_k=1) == check_case(case(max_new_tokens=12), opened).record["answer"]


def test_an_item_that_the_folder_does_not_have_fails_its_case(opened):
    finding = check_case(case(prompt="After <s_a_99>"), opened)
    assert (finding.status, finding.detail) == (
        "failed",
        "the case spells <s_a_99>, which is no token of this folder",
    )


def test_an_answer_beyond_the_models_positions_is_refused(folder):
    with document(folder / "config.json") as settings:
        settings["max_position_embeddings"] = 60
    checks = found(folder, {"name": "long", "kind": "text", "prompt": "Hello", "max_new_tokens": 58})
    assert "are more than the model's max_position_embeddings, 60" in checks["generation, long"].detail
