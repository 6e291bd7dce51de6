import json
import unicodedata
from itertools import product

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from jinja2.exceptions import TemplateError
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from onerec.errors import ConfigError, DataError
from onerec.model.tokenizer import (
    CHAT_TEMPLATE_FILE,
    PLAIN_TOKENS,
    SPECIAL_TOKENS,
    corpus_texts,
    save_tokenizer,
    train_tokenizer,
)
from tests import qwen3_tokenizer

TEXTS = [
    f"The film number {n}, seen by {n * 7} people: {thing} in every morning's quiet harbour, a yellow garden"
    for n, thing in enumerate(["drama", "comedy", "western", "thriller", "documentary", "musical"] * 10)
]
ITEM = "<|sid_begin|><s_a_1><s_b_2><s_c_3><|sid_end|>"
TRICKY = [
    "",
    " ",
    "The film number 7",
    "用户按时间顺序观看了以下电影：",
    "Étrange e\u0301 ﷺ 🎉\u200d🔥 \u0000",
    "  two  blanks \r\n\r\n and\ttabs ",
    "don't WE'LL 12345 a_b <think>\n\n</think>",
    ITEM,
]


def write(folder, **columns):
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), folder / f"part-{len(list(folder.iterdir())):05d}.parquet")
    return folder


def segments(texts):
    return [json.dumps([{"type": "text", "text": text}]) for text in texts]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write(tmp_path_factory.mktemp("corpus"), segments=segments(TEXTS))


@pytest.fixture(scope="module")
def saved(tmp_path_factory, corpus):
    folder = tmp_path_factory.mktemp("saved")
    save_tokenizer(train_tokenizer((str(corpus),), vocab_size=360), folder, max_length=128)
    return folder


def test_the_size_is_all_that_was_asked_and_qwen3s_tokens_end_it_in_its_order(saved):
    tokenizer = AutoTokenizer.from_pretrained(saved)
    assert len(tokenizer) == 360
    assert tokenizer.convert_ids_to_tokens(list(range(334, 360))) == [*SPECIAL_TOKENS, *PLAIN_TOKENS]
    assert (tokenizer.eos_token, tokenizer.pad_token, tokenizer.bos_token) == (
        "<|im_end|>",
        "<|endoftext|>",
        None,
    )
    assert tokenizer.model_max_length == 128


@pytest.mark.parametrize("text", TRICKY)
def test_text_comes_back_from_its_tokens(saved, text):
    tokenizer = AutoTokenizer.from_pretrained(saved)
    assert tokenizer.decode(tokenizer.encode(text)) == unicodedata.normalize("NFC", text)
    assert tokenizer.encode(text) == Tokenizer.from_file(str(saved / "tokenizer.json")).encode(text).ids


def test_common_words_of_the_texts_are_single_tokens(saved):
    tokenizer = AutoTokenizer.from_pretrained(saved)
    assert tokenizer.tokenize("The film number, seen") == ["The", "Ġfilm", "Ġnumber", ",", "Ġseen"]


def test_special_tokens_vanish_on_request_and_think_tokens_stay(saved):
    tokenizer = AutoTokenizer.from_pretrained(saved)
    ids = tokenizer.encode("<|im_start|><think>a</think><|im_end|>")
    assert len(ids) == 5
    assert tokenizer.decode(ids, skip_special_tokens=True) == "<think>a</think>"


def test_itemic_and_special_spellings_in_the_texts_teach_it_nothing(tmp_path, corpus):
    marked = [f"{text[:20]}{ITEM}<|im_end|>{text[20:]}" for text in TEXTS]
    cut = [[{"type": "text", "text": text[:20]}, {"type": "text", "text": text[20:]}] for text in TEXTS]
    with_marks = write(tmp_path / "marked", segments=segments(marked))
    without = write(tmp_path / "cut", segments=[json.dumps(row) for row in cut])
    trained = [train_tokenizer((str(folder),), vocab_size=360).to_str() for folder in (with_marks, without)]
    assert trained[0] == trained[1]


def test_the_same_texts_give_the_same_tokenizer(corpus):
    trained = [train_tokenizer((str(corpus),), vocab_size=360).to_str() for _ in range(2)]
    assert trained[0] == trained[1]


def test_texts_are_found_in_every_form_that_rows_come_in(tmp_path):
    part = {"type": "text", "text": "c"}
    chat = [
        {"role": "user", "content": "a"},
        {"role": "user", "content": part},
        {"role": "user", "content": [part, part]},
    ]
    folder = write(tmp_path / "rows", messages=[json.dumps(chat), None], segments=[None, json.dumps([part])])
    write(folder, messages=[[{"role": "user", "content": "nested"}]])
    write(folder, segments=[[{"type": "text", "text": "nested too"}]])
    assert list(corpus_texts(folder)) == ["a", "c", "c", "c", "c", "nested", "nested too"]


def test_a_folder_without_rows_a_broken_file_and_a_strange_one_are_errors_that_name_them(tmp_path):
    with pytest.raises(DataError, match="no parquet files"):
        list(corpus_texts(tmp_path))
    write(tmp_path, other=["x"])
    with pytest.raises(DataError, match=r"part-00000\.parquet .* neither a messages nor a segments column"):
        list(corpus_texts(tmp_path))
    (tmp_path / "part-00000.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match=r"part-00000\.parquet cannot be read"):
        list(corpus_texts(tmp_path))


def test_too_little_text_is_an_error_with_the_size_it_would_give(corpus):
    with pytest.raises(
        ConfigError, match=r"give (\d+) tokens, not 9000; set tokenizer_vocab_size = \1 or less"
    ):
        train_tokenizer((str(corpus),), vocab_size=9000)


def test_everything_but_the_merges_is_as_in_the_real_qwen3_tokenizer(saved):
    theirs = json.loads((qwen3_tokenizer.folder() / "tokenizer.json").read_text(encoding="utf-8"))
    mine = json.loads((saved / "tokenizer.json").read_text(encoding="utf-8"))
    for key in ("normalizer", "pre_tokenizer", "post_processor"):
        assert mine[key] == theirs[key]
    shift = qwen3_tokenizer.NUM_TOKENS - 360
    assert [token | {"id": token["id"] + shift} for token in mine["added_tokens"]] == theirs["added_tokens"]


def say(role, content, **more):
    return {"role": role, "content": content, **more}


@pytest.mark.parametrize(
    ("messages", "options", "expected"),
    [
        ([say("user", "q")], {}, "<|im_start|>user\nq<|im_end|>\n"),
        (
            [say("system", "s"), say("user", "q"), say("assistant", "a")],
            {},
            "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nq<|im_end|>\n"
            "<|im_start|>assistant\n<think>\n\n</think>\n\na<|im_end|>\n",
        ),
        (
            [
                say("user", "q"),
                say("assistant", "<think>\nt\n</think>\n\na"),
                say("user", "r"),
                say("assistant", "b"),
            ],
            {},
            "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n<|im_start|>user\nr<|im_end|>\n"
            "<|im_start|>assistant\n<think>\n\n</think>\n\nb<|im_end|>\n",
        ),
        (
            [say("user", "q"), say("assistant", "a", reasoning_content="t")],
            {},
            "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n<think>\nt\n</think>\n\na<|im_end|>\n",
        ),
        (
            [say("user", "q")],
            {"add_generation_prompt": True},
            "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n",
        ),
        (
            [say("user", "q")],
            {"add_generation_prompt": True, "enable_thinking": False},
            "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
        ),
    ],
)
def test_chats_are_rendered_with_thinking_in_the_last_answer_only(saved, messages, options, expected):
    tokenizer = AutoTokenizer.from_pretrained(saved)
    assert tokenizer.apply_chat_template(messages, tokenize=False, **options) == expected


@pytest.mark.parametrize(
    ("messages", "tools", "told"),
    [
        ([say("user", "q")], [{"type": "function", "function": {"name": "f"}}], "knows no tools"),
        ([say("user", "q"), say("assistant", "a", tool_calls=[{"name": "f"}])], None, "knows no tool calls"),
        ([say("user", "q"), say("tool", "a")], None, "role tool is unknown"),
        ([say("user", [{"type": "text", "text": "q"}])], None, "must be text"),
    ],
)
def test_what_the_template_does_not_know_is_an_error_and_never_left_out(saved, messages, tools, told):
    tokenizer = AutoTokenizer.from_pretrained(saved)
    with pytest.raises(TemplateError, match=told):
        tokenizer.apply_chat_template(messages, tools=tools, tokenize=False)


def test_every_conversation_is_rendered_as_by_qwen3s_own_template(saved):
    original = qwen3_tokenizer.original_chat_template()
    ours = CHAT_TEMPLATE_FILE.read_text(encoding="utf-8").removesuffix("\n")
    tokenizer = AutoTokenizer.from_pretrained(saved)
    turns = [
        *(say("user", text) for text in ("q", "<tool_response>\nx\n</tool_response>", "\n ")),
        *(
            say("assistant", text)
            for text in ("a", "\n\na\n", "<think>\nt\n</think>\n\na", "no start</think>a")
        ),
        *(say("assistant", text) for text in ("<think>no end", " <think>1</think><think>2</think>\n a")),
        say("assistant", "a", reasoning_content="r\n"),
        say("assistant", "<think>w</think>a", reasoning_content=""),
        say("assistant", "a", reasoning_content=None),
        say("system", "s"),
    ]
    conversations = [list(chosen) for length in (1, 2, 3) for chosen in product(turns, repeat=length)]
    options = ({}, {"add_generation_prompt": True, "enable_thinking": False})
    for messages, more in product(conversations, options):
        rendered = [
            tokenizer.apply_chat_template(messages, tokenize=False, chat_template=template, **more)
            for template in (original, ours)
        ]
        assert rendered[0] == rendered[1], messages
