from __future__ import annotations

import json

import pytest

from onerec.data.text.tokenizer import (
    check_itemic_tokens,
    load_tokenizer,
    pad_id_of,
    tokenizer_digest,
    tokenizer_files_digest,
)
from onerec.errors import ConfigError
from onerec.vocab import ItemicVocab
from tests.data.tokens import CODES, LAYERS, ids, write_tokenizer


def check(folder, *, layers=LAYERS, codes=CODES, expected=None):
    tokenizer = load_tokenizer(folder)
    return check_itemic_tokens(
        tokenizer, layer_n=layers, size_per_layer=codes, expected=expected, folder=folder
    )


def test_the_itemic_tokens_are_found_where_the_tokenizer_has_them(tokenizer_dir):
    [first, last] = ids("<s_a_0> <|sid_end|>")
    assert check(tokenizer_dir, expected=(first, last)) == ItemicVocab(LAYERS, CODES, first)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"codes": CODES + 1}, "<s_a_4> has id None"),
        ({"layers": 2}, "<|sid_begin|> has id"),
        ({"expected": (1, 14)}, r"itemic_id_range [1, 14] is not that of"),
    ],
)
def test_other_sizes_than_the_tokenizer_has_are_configuration_errors(tokenizer_dir, change, fault):
    with pytest.raises(ConfigError) as caught:
        check(tokenizer_dir, **change)
    assert fault in str(caught.value)


def test_a_tokenizer_that_was_not_expanded_is_a_configuration_error(tmp_path):
    with pytest.raises(ConfigError, match="does not know <s_a_0>; add an expand_vocab stage"):
        check(write_tokenizer(tmp_path, itemic=False))


def test_a_folder_without_a_tokenizer_is_a_configuration_error(tmp_path):
    with pytest.raises(ConfigError, match="no usable tokenizer"):
        load_tokenizer(tmp_path)


def test_the_digest_is_the_tokenizer_and_its_template_not_its_files(tmp_path, tokenizer_dir):
    same = write_tokenizer(tmp_path / "same")
    path = same / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_max_length": 7}))
    other = write_tokenizer(tmp_path / "other", template="{{ messages }}")
    digests = [tokenizer_digest(load_tokenizer(folder)) for folder in (tokenizer_dir, same, other)]
    assert digests[0] == digests[1] != digests[2]
    files = [tokenizer_files_digest(folder) for folder in (tokenizer_dir, same, other)]
    assert len(set(files)) == 3


def test_truncation_and_padding_of_a_saved_tokenizer_do_not_touch_the_data(tmp_path):
    folder = write_tokenizer(tmp_path)
    saved = json.loads((folder / "tokenizer.json").read_text())
    saved["truncation"] = {"max_length": 2, "stride": 0, "direction": "Right", "strategy": "LongestFirst"}
    (folder / "tokenizer.json").write_text(json.dumps(saved))
    tokenizer = load_tokenizer(folder)
    assert len(tokenizer.backend_tokenizer.encode("abcdef").ids) == 6
    assert pad_id_of(tokenizer) == ids("<|endoftext|>")[0]
