"""Golden labels of every kind of row, and properties of rendering under adversarial text."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onerec.data.preparation.write import pieces_of
from onerec.data.source.validate import Row, RowError
from onerec.data.text.label import labels_of
from onerec.data.text.render import Rendered, Renderer
from onerec.errors import ConfigError
from tests.data.rows import chat, text
from tests.data.tokens import ids, write_tokenizer

USER = "<|im_start|> u s e r Ċ"
ASSISTANT = "<|im_start|> a s s i s t a n t Ċ"
EMPTY_THINK = "<think> ĊĊ </think> ĊĊ"

Golden = list[tuple[str, bool]]
"""Pieces of a sample, each with whether its tokens are trained."""


def expected(golden: Golden) -> tuple[list[int], list[int]]:
    """Ids and labels that a golden sample stands for."""
    numbers = [(number, trained) for piece, trained in golden for number in ids(piece)]
    labels = [number if trained else -100 for number, trained in numbers[1:]]
    return [number for number, _ in numbers], [*labels, -100]


def actual(rendered: Rendered) -> tuple[list[int], list[int]]:
    labels = labels_of(rendered.input_ids, np.array(rendered.spans, dtype=np.int32).reshape(-1, 2))
    return rendered.input_ids.tolist(), labels.tolist()


def renderer_for(tokenizer_dir: Path, *, only_assistant_loss: bool = True, think: bool = False) -> Renderer:
    return Renderer(tokenizer_dir, only_assistant_loss=only_assistant_loss, add_think_pattern=think)


ONE_TURN = chat(("user", "ok"), ("assistant", "the end"))
TWO_TURNS = chat(
    ("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "<|sid_begin|><s_a_1>")
)


def test_one_turn_trains_all_that_the_template_puts_after_the_header(tokenizer_dir):
    golden = [
        (f"{USER} ok <|im_end|> Ċ {ASSISTANT}", False),
        (f"{EMPTY_THINK} the Ġ e n d <|im_end|>", True),
        ("Ċ <|endoftext|>", False),
    ]
    assert actual(renderer_for(tokenizer_dir).render(ONE_TURN)) == expected(golden)


def test_every_assistant_turn_is_trained_and_nothing_between_them(tokenizer_dir):
    golden = [
        (f"<|im_start|> s y s t e m Ċ s <|im_end|> Ċ {USER} a <|im_end|> Ċ {ASSISTANT}", False),
        ("b <|im_end|>", True),
        (f"Ċ {USER} c <|im_end|> Ċ {ASSISTANT}", False),
        (f"{EMPTY_THINK} <|sid_begin|> <s_a_1> <|im_end|>", True),
        ("Ċ <|endoftext|>", False),
    ]
    assert actual(renderer_for(tokenizer_dir).render(TWO_TURNS)) == expected(golden)


def test_the_think_pattern_switches_user_turns_and_lets_the_template_write_the_blocks(tokenizer_dir):
    row = chat(
        ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "<think>\nok\n</think>\n\nthe")
    )
    golden = [
        (f"{USER} a / n o _ th i n k <|im_end|> Ċ {ASSISTANT}", False),
        ("b <|im_end|>", True),
        (f"Ċ {USER} c / th i n k <|im_end|> Ċ {ASSISTANT}", False),
        ("<think> Ċ ok Ċ </think> ĊĊ the <|im_end|>", True),
        ("Ċ <|endoftext|>", False),
    ]
    assert actual(renderer_for(tokenizer_dir, think=True).render(row)) == expected(golden)


def test_segments_train_every_token_but_the_first_and_the_document_end(tokenizer_dir):
    golden = [("<|sid_begin|>", False), ("<s_a_0> <s_b_1> <s_c_2> <|sid_end|> ok <|endoftext|>", True)]
    row = text("<|sid_begin|><s_a_0><s_b_1><s_c_2><|sid_end|>", "ok")
    assert actual(renderer_for(tokenizer_dir).render(row)) == expected(golden)


@pytest.mark.parametrize(
    ("limit", "goldens"),
    [
        (3, [[("a", False), ("b c", True)], [("d", False), ("e <|endoftext|>", True)]]),
        (4, [[("a", False), ("b c d", True)], [("e", False), ("<|endoftext|>", True)]]),
        (5, [[("a", False), ("b c d e", True)], [("<|endoftext|>", False)]]),
    ],
)
def test_a_split_sample_teaches_no_document_end_where_it_was_cut(tokenizer_dir, limit, goldens):
    rendered = renderer_for(tokenizer_dir).render(text("abcde"))
    assert [actual(piece) for piece in pieces_of(rendered, limit)] == [expected(golden) for golden in goldens]


def test_without_only_assistant_loss_a_chat_trains_every_token_but_the_first_and_the_document_end(
    tokenizer_dir,
):
    golden = [
        ("<|im_start|>", False),
        (f"u s e r Ċ ok <|im_end|> Ċ {ASSISTANT} {EMPTY_THINK} the Ġ e n d <|im_end|> Ċ", True),
        ("<|endoftext|>", False),
    ]
    rendered = renderer_for(tokenizer_dir, only_assistant_loss=False).render(ONE_TURN)
    assert actual(rendered) == expected(golden)


@pytest.mark.parametrize("only_assistant_loss", [True, False])
def test_segments_do_not_care_about_only_assistant_loss(tokenizer_dir, only_assistant_loss):
    renderer = renderer_for(tokenizer_dir, only_assistant_loss=only_assistant_loss)
    assert actual(renderer.render(text("ok"))) == expected([("ok", False), ("<|endoftext|>", True)])


def test_a_token_on_a_border_belongs_to_where_its_first_character_is(tokenizer_dir):
    row = chat(("user", "a"), ("assistant", "\nok"), ("user", "b"), ("assistant", "c"))
    golden = [
        (f"{USER} a <|im_end|> Ċ <|im_start|> a s s i s t a n t ĊĊ", False),
        ("ok <|im_end|>", True),
        (f"Ċ {USER} b <|im_end|> Ċ {ASSISTANT}", False),
        (f"{EMPTY_THINK} c <|im_end|>", True),
        ("Ċ <|endoftext|>", False),
    ]
    assert actual(renderer_for(tokenizer_dir).render(row)) == expected(golden)


def test_text_that_spells_markers_becomes_their_tokens_and_moves_no_border(tokenizer_dir):
    row = chat(
        ("user", "x<|im_end|>\n<|im_start|>assistant\nok<|im_end|>"), ("assistant", "<|im_end|>a<|im_start|>")
    )
    golden = [
        (f"{USER} x <|im_end|> Ċ {ASSISTANT} ok <|im_end|> <|im_end|> Ċ {ASSISTANT}", False),
        (f"{EMPTY_THINK} <|im_end|> a <|im_start|> <|im_end|>", True),
        ("Ċ <|endoftext|>", False),
    ]
    assert actual(renderer_for(tokenizer_dir).render(row)) == expected(golden)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (chat(("user", "a")), "nothing in it is trained"),
        (text(""), "nothing in it is trained"),
        (text("", ""), "nothing in it is trained"),
    ],
)
def test_a_row_that_trains_nothing_is_refused(renderer, row, reason):
    with pytest.raises(RowError, match=reason):
        renderer.render(row)


def test_a_refused_row_does_not_disturb_the_others_of_its_batch(renderer):
    first, refused, last = renderer.render_many([ONE_TURN, chat(("user", "a")), TWO_TURNS])
    assert isinstance(refused, RowError)
    assert [first, last] == [renderer.render(ONE_TURN), renderer.render(TWO_TURNS)]


def test_templates_that_hide_or_refuse_turns_reject_the_row_by_name(tmp_path):
    hiding = Renderer(write_tokenizer(tmp_path / "a", template="{{ messages[-1].content }}"))
    refusing = Renderer(write_tokenizer(tmp_path / "b", template="{{ raise_exception('no system turns') }}"))
    with pytest.raises(RowError, match="does not show every assistant turn"):
        hiding.render(ONE_TURN)
    with pytest.raises(RowError, match="refuses the messages") as caught:
        refusing.render(ONE_TURN)
    assert caught.value.excerpt == '"no system turns"'


def test_a_template_that_reads_marker_characters_rejects_only_rows_that_need_them(tmp_path):
    content = "{{ m.content.split('|') | join('') }}"
    reading = "{% for m in messages %}<|im_start|>{{ m.role }}\n" + content + "<|im_end|>\n{% endfor %}"
    renderer = Renderer(write_tokenizer(tmp_path, template=reading))
    renderer.render(ONE_TURN)
    with pytest.raises(RowError, match="characters of its own markers"):
        renderer.render(chat(("user", "<|im_end|>"), ("assistant", "a")))


def test_a_missing_template_or_token_is_a_configuration_error(tmp_path, tokenizer_dir):
    without = write_tokenizer(tmp_path / "plain")
    (without / "chat_template.jinja").unlink()
    with pytest.raises(ConfigError, match="no chat template"):
        Renderer(without).render(ONE_TURN)
    with pytest.raises(ConfigError, match="no such folder"):
        Renderer(tmp_path / "nowhere")


FRAGMENTS = [
    "<|im_start|>assistant\n",
    "<|im_start|>",
    "<|im_end|>",
    "<|im_end|>\n",
    "<|endoftext|>",
    "<|im_",
    "start|>",
    "<think>",
    "</think>",
    "<tool_response>",
    "</tool_response>",
    "<|sid_begin|>",
    "<s_a_1>",
    "<s_a_01>",
    "|",
    "¦",
    "\n",
    "\n\n",
    " ",
    "assistant",
    "\x00",
    "\ue000",
    "\uf8ff",
    "\U0010fffd",
    "👩\u200d👧",
    "e\u0301",
    "\u0323\u0301",
    "你好",
    "한\u1112\u1161",
    "the",
    "{{ x }}",
]
CONTENT = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=3), max_size=6).map("".join)
TURNS = st.lists(st.tuples(st.sampled_from(["user", "assistant", "system"]), CONTENT), min_size=1, max_size=5)
FUZZ = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def encodable(turns: list[tuple[str, str]]) -> bool:
    return not re.search("[\ud800-\udfff]", "".join(content for _, content in turns))


def qwen3_pieces(row: Row) -> list[tuple[str, bool]]:
    """What Qwen3's template writes, spelled out by hand as pieces with whether they are trained."""
    assert row.messages is not None
    turns = row.messages
    asked = [
        n
        for n, turn in enumerate(turns)
        if turn.role == "user"
        and not (turn.content.startswith("<tool_response>") and turn.content.endswith("</tool_response>"))
    ]
    last_query = asked[-1] if asked else len(turns) - 1
    pieces = []
    for n, turn in enumerate(turns):
        pieces.append((f"<|im_start|>{turn.role}\n", False))
        if turn.role != "assistant":
            pieces.append((f"{turn.content}<|im_end|>\n", False))
            continue
        answer, thought = turn.content, ""
        if "</think>" in answer:
            thought = answer.split("</think>")[0].rstrip("\n").split("<think>")[-1].lstrip("\n")
            answer = answer.split("</think>")[-1].lstrip("\n")
        if n > last_query and (n == len(turns) - 1 or thought):
            answer = "<think>\n" + thought.strip("\n") + "\n</think>\n\n" + answer.lstrip("\n")
        pieces += [(f"{answer}<|im_end|>", True), ("\n", False)]
    return pieces


@FUZZ
@given(TURNS.filter(encodable))
def test_adversarial_text_renders_as_the_template_does_and_never_moves_a_span(renderer, turns):
    row = chat(*turns)
    pieces = qwen3_pieces(row)
    whole = "".join(piece for piece, _ in pieces)
    ends = np.cumsum([len(piece) for piece, _ in pieces]).tolist()
    trained = [(end - len(piece), end) for end, (piece, wanted) in zip(ends, pieces, strict=True) if wanted]
    conversation = [{"role": role, "content": content} for role, content in turns]
    assert renderer.chat_text(row.messages) == whole
    assert renderer.tokenizer.apply_chat_template(conversation, tokenize=False) == whole
    assert list(renderer.script_of(row).spans) == trained


@FUZZ
@given(TURNS.filter(encodable))
def test_ids_are_those_of_the_hugging_face_tokenizer_and_tokens_follow_their_first_character(renderer, turns):
    row = chat(*turns)
    script = renderer.script_of(row)
    encoded = renderer.tokenizer(script.text, add_special_tokens=False, return_offsets_mapping=True)
    wanted = [
        number
        for number, (start, _) in enumerate(encoded["offset_mapping"])
        if any(left <= start < right for left, right in script.spans)
    ]
    [rendered] = renderer.render_many([row])
    if isinstance(rendered, RowError):
        assert not wanted
        return
    assert rendered.input_ids.tolist() == [*encoded["input_ids"], renderer.document_end_id]
    assert [number for start, end in rendered.spans for number in range(start, end)] == wanted
