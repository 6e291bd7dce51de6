import json

import pytest
from transformers import AutoTokenizer

from onerec.config import Vocab
from onerec.errors import ConfigError
from onerec.vocab import ItemicVocab
from tests.model import qwen3_folder
from tests.model.qwen3_folder import NUM_TOKENS, expand

VOCAB = ItemicVocab(3, 4, first_id=NUM_TOKENS)


def test_tokens_are_appended_in_order_and_are_never_split_stripped_or_hidden(tmp_path):
    base = qwen3_folder.make(tmp_path / "base", padding=20)
    expand(base, tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out" / "model")
    assert tokenizer.convert_ids_to_tokens(list(range(NUM_TOKENS, NUM_TOKENS + 14))) == VOCAB.spellings()
    assert len(tokenizer) == NUM_TOKENS + 14
    text = "a <|sid_begin|><s_a_1><s_b_3><s_c_0><|sid_end|> b<s_a_4> <s_a_01>"
    ids = tokenizer.encode(text)
    assert [n for n in ids if n >= NUM_TOKENS] == VOCAB.ids_of_item((1, 3, 0))
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    old = AutoTokenizer.from_pretrained(base)
    plain = "no items, <|im_start|> but 文字\n"
    assert tokenizer.encode(plain) == old.encode(plain)
    chat = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    assert tokenizer.apply_chat_template(chat, tokenize=False) == old.apply_chat_template(
        chat, tokenize=False
    )


def test_other_records_of_the_added_tokens_are_kept_in_step(tmp_path):
    base = qwen3_folder.make(tmp_path / "base")
    known = json.loads((base / "tokenizer.json").read_text(encoding="utf-8"))["added_tokens"]
    settings = json.loads((base / "tokenizer_config.json").read_text())
    settings["added_tokens_decoder"] = {
        str(token["id"]): {key: value for key, value in token.items() if key != "id"} for token in known
    }
    (base / "tokenizer_config.json").write_text(json.dumps(settings))
    (base / "added_tokens.json").write_text(json.dumps({token["content"]: token["id"] for token in known}))
    expand(base, tmp_path / "out")
    model = tmp_path / "out" / "model"
    decoder = json.loads((model / "tokenizer_config.json").read_text())["added_tokens_decoder"]
    ids = {token["content"]: token["id"] for token in known} | {
        token: number for number, token in enumerate(VOCAB.spellings(), start=NUM_TOKENS)
    }
    assert {entry["content"]: int(number) for number, entry in decoder.items()} == ids
    assert json.loads((model / "added_tokens.json").read_text()) == ids
    tokenizer = AutoTokenizer.from_pretrained(model)
    assert tokenizer.encode("<s_b_0>") == [NUM_TOKENS + 4]
    assert tokenizer.decode([NUM_TOKENS + 4], skip_special_tokens=True) == "<s_b_0>"


@pytest.mark.parametrize(
    ("vocab", "difference"),
    [
        (
            Vocab(itemic_layer_n=3, vocab_size_per_layer=5, alignment=8),
            r"3 missing \(<s_a_4>, <s_b_4>, <s_c_4>\); 10 elsewhere",
        ),
        (
            Vocab(itemic_layer_n=2, vocab_size_per_layer=4, alignment=8),
            r"4 not wanted \(<s_c_0>, <s_c_1>, <s_c_2>, \.\.\.\)",
        ),
    ],
)
def test_a_tokenizer_with_other_itemic_tokens_is_refused_with_the_difference(tmp_path, vocab, difference):
    expand(qwen3_folder.make(tmp_path / "base"), tmp_path / "once")
    with pytest.raises(ConfigError, match=difference):
        expand(tmp_path / "once" / "model", tmp_path / "twice", vocab=vocab)
    assert not (tmp_path / "twice" / "model").exists()


def test_a_tokenizer_with_a_part_of_the_itemic_tokens_is_refused(tmp_path):
    base = qwen3_folder.make(tmp_path / "base")
    tokenizer = qwen3_folder.alphabet_tokenizer()
    tokenizer.add_tokens(["<|sid_begin|>"])
    tokenizer.save(str(base / "tokenizer.json"))
    with pytest.raises(ConfigError, match=r"has 1 itemic tokens, but not the 14 .* 13 missing \(<s_a_0>"):
        expand(base, tmp_path / "out")
