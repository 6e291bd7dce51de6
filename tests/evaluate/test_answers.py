"""Labels and descriptions, against transformers asked for one row at a time."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from onerec.config import Evaluation
from onerec.data.source.validate import Message, Row
from onerec.errors import DataError
from onerec.evaluate.answers import describe, description_figures, label_figures, label_scores
from onerec.evaluate.recommender import Recommender
from onerec.items.item_map import load_item_map
from tests.evaluate import built

LABELS = (("yes", "no"), ("是", "不是"), ("I think so", "I think not"))
SETTINGS = Evaluation(bootstrap_samples=0)


def nothing(_):
    pass


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "think"])
def recommender(request, tiny_programme, tmp_path_factory):
    path = tmp_path_factory.mktemp("items") / "items.parquet"
    built.write_items(path, about=built.ABOUT)
    folder = built.model_of(tiny_programme)
    return Recommender.load(folder, load_item_map(path), add_think_pattern=request.param, device="cpu")


@pytest.fixture(scope="module")
def asked_alone(tiny_programme):
    folder = built.model_of(tiny_programme)
    return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


def row(question, answer, number=0, **metadata):
    messages = (Message("user", question), Message("assistant", answer))
    return Row("id", "label_prediction", messages, None, metadata, file="test_tasks/part", row=number)


def label_rows():
    questions = ("one", "a much longer question than that of the others", "and one more")
    return [
        row(question, (no, yes)[number % 2], number, label=number % 2, yes=yes, no=no)
        for number, (question, (yes, no)) in enumerate(zip(questions, LABELS, strict=True))
    ]


def text_of(tokenizer, recommender, question, answer):
    """Rendered by hand: with the think pattern, an answer comes after an empty block."""
    thinks = recommender.renderer._add_think_pattern
    turns = [
        {"role": "user", "content": question + ("/no_think" if thinks else "")},
        {"role": "assistant", "content": ("<think>\n\n</think>\n\n" if thinks else "") + answer},
    ]
    return tokenizer.apply_chat_template(turns, tokenize=False)


def next_log_probs(lm, tokenizer, text):
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        return lm(ids).logits[0].log_softmax(-1)


def test_a_label_is_scored_where_yes_and_no_first_differ(recommender, asked_alone):
    lm, tokenizer = asked_alone
    rows = label_rows()
    scores = label_scores(recommender, rows, batch_size=2)
    for asked, (yes, no), score in zip(rows, LABELS, scores, strict=True):
        question = asked.messages[0].content
        texts = [text_of(tokenizer, recommender, question, answer) for answer in (yes, no)]
        yes_ids, no_ids = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts)
        place = next(place for place, (a, b) in enumerate(zip(yes_ids, no_ids, strict=False)) if a != b)
        log_probs = next_log_probs(lm, tokenizer, texts[0])[place - 1]
        assert score == pytest.approx(float(log_probs[yes_ids[place]] - log_probs[no_ids[place]]), abs=1e-4)


def test_labels_that_cannot_be_scored_are_told(recommender):
    with pytest.raises(DataError, match=r"test_tasks/part, row 4: yes and no are the same words"):
        label_scores(recommender, [row("q", "yes", 4, label=1, yes="yes", no="yes")], batch_size=1)
    with pytest.raises(DataError, match=r"row 0: its metadata do not tell 'no'"):
        label_scores(recommender, [row("q", "yes", label=1, yes="yes")], batch_size=1)
    with pytest.raises(DataError, match="its metadata do not tell 'label'"):
        label_figures([row("q", "yes", yes="yes", no="no")], [0.0], settings=SETTINGS, seed=1)


def test_figures_of_labels_are_those_counted_by_hand():
    rows = [row("q", "yes", label=label) for label in (1, 0, 1, 0)]
    figures = label_figures(rows, [3.0, 1.0, 1.0, -2.0], settings=SETTINGS, seed=1)
    assert (figures["questions"], figures["positive"], figures["auc"]["value"]) == (4, 2, 3.5 / 4)
    alike = label_figures(rows[:1], [3.0], settings=SETTINGS, seed=1)
    assert alike == {"questions": 1, "positive": 1, "auc": {"value": None, "low": None, "high": None}}


def test_a_description_is_what_transformers_says_to_the_question_alone(recommender, asked_alone):
    lm, tokenizer = asked_alone
    rows = [row("what is it?", "a film"), row("and this one, of which little is known?", " Ein Film \n")]
    done = []
    said = describe(recommender, rows, max_new_tokens=6, batch_size=2, on_done=done.append)
    assert done == [2]
    for asked, text in zip(rows, said, strict=True):
        question, answer = (message.content for message in asked.messages)
        whole = text_of(tokenizer, recommender, question, answer)
        prompt = whole[: whole.rindex(answer.strip())]
        ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")
        [out] = lm.generate(**ids, max_new_tokens=6, do_sample=False)
        expected = tokenizer.decode(out[ids["input_ids"].shape[1] :], skip_special_tokens=True)
        assert text == expected.strip()


def test_figures_of_descriptions_are_those_counted_by_hand():
    rows = [row("q", "a film of old"), row("q", "abc")]
    figures = description_figures(rows, ["a film", "abc"], settings=SETTINGS, seed=1)
    assert figures["questions"] == 2
    assert figures["rouge_l"]["value"] == pytest.approx((2 / 3 + 1) / 2)
    assert 0.5 < figures["chrf"]["value"] < 1
    assert figures["examples"][1] == {"said": "abc", "wanted": "abc"}
