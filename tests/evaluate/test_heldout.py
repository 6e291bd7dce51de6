"""Held-out loss against transformers' own loss, and popularity against counts made by hand."""

import math
from collections import Counter

import pytest
import torch
from transformers import AutoModelForCausalLM

from onerec.build.rows import write_rows
from onerec.data.source.read import rows
from onerec.data.text.render import Renderer
from onerec.errors import DataError
from onerec.evaluate.heldout import heldout_loss
from onerec.evaluate.popularity import answers_of, mentions, popularity_nats
from onerec.model.attention import register_document_attention
from tests import tiny


@pytest.fixture(scope="module")
def chats(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chats") / "rows"
    write_rows((row for row in tiny.rows(30, seed=9) if row.messages), folder)
    return folder


def test_the_loss_is_that_of_each_answer_alone(tiny_programme, chats):
    model_dir = tiny_programme / "expanded" / "model"
    renderer = Renderer(model_dir)
    model = AutoModelForCausalLM.from_pretrained(model_dir).eval()
    nats, tokens = 0.0, 0
    for row in rows(str(chats)):
        sample = renderer.render(row)
        ids = torch.tensor([sample.input_ids.tolist()])
        labels = torch.full_like(ids, -100)
        for start, end in sample.spans:
            labels[0, start:end] = ids[0, start:end]
        trained = sum(end - start for start, end in sample.spans)
        with torch.no_grad():
            nats += float(model(input_ids=ids, labels=labels).loss) * trained
        tokens += trained
    model.set_attn_implementation(register_document_attention())
    told = heldout_loss(model, renderer, chats)
    assert (told.answers, told.tokens) == (10, tokens)
    assert told.nats == pytest.approx(nats, rel=1e-5)
    assert told.per_answer == pytest.approx(nats / 10, rel=1e-5)


def test_popularity_is_the_add_one_unigram_of_mentions():
    counts = Counter({"x": 3, "y": 1})
    total = 4 + 2 + 1
    expected = -(math.log(4 / total) + math.log(2 / total) + math.log(1 / total)) / 3
    assert popularity_nats(counts, ["x", "y", "never seen"]) == pytest.approx(expected)


def test_every_mention_counts_and_answers_are_the_last_turns(chats):
    answers = answers_of(chats)
    assert len(answers) == 10
    text = "".join(message.content for row in rows(str(chats)) for message in row.messages)
    assert sum(mentions(chats).values()) == text.count("<|sid_begin|>")


def test_a_folder_without_items_is_refused(tmp_path):
    write_rows(iter([tiny.Row(tiny._uuid(1), "text", {}, segments=("nothing here",))]), tmp_path / "rows")
    with pytest.raises(DataError, match="mentions no item"):
        mentions(tmp_path / "rows")
