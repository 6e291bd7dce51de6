import numpy as np
import pytest
import torch
from transformers import AutoModel, BertConfig, BertModel, BertTokenizer

from onerec.build.ids import encoder
from onerec.build.ids.encoder import TextEncoder, digest_of, encode_items_text
from onerec.build.interactions import Item
from onerec.errors import ConfigError

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "river", "night", "train", "western")
ITEMS = (
    Item("1", "red river", categories=("western",)),
    Item("2", "night train", text="red red red river river night night train train"),
    Item("3"),
    Item("4", "river"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A BERT of a few thousand weights."""
    place = tmp_path_factory.mktemp("bert")
    (place / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizer(str(place / "vocab.txt")).save_pretrained(place)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=12,
    )
    BertModel(config).save_pretrained(place, safe_serialization=True)
    return place


def test_vectors_are_means_over_each_texts_own_tokens(folder):
    found = encode_items_text(ITEMS, folder)
    model = AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        alone = model(input_ids=torch.tensor([[2, 6, 3]])).last_hidden_state[0].mean(dim=0)
    assert (found.shape, found.dtype) == ((4, 16), np.float32)
    np.testing.assert_allclose(found[3], alone.numpy(), atol=1e-6)
    assert not found[2].any()


@pytest.mark.parametrize("limit", [1, 20])
def test_vectors_do_not_depend_on_the_batches(folder, monkeypatch, limit):
    expected = encode_items_text(ITEMS, folder)
    monkeypatch.setattr(encoder, "BATCH_TOKENS", limit)
    monkeypatch.setattr(encoder, "TOKENISED_AT_ONCE", 2)
    np.testing.assert_allclose(encode_items_text(ITEMS, folder), expected, atol=1e-6)


def test_texts_that_are_longer_than_the_encoder_takes_are_cut(folder):
    long = encode_items_text([Item("1", "red " * 10), Item("2", "red " * 500)], folder)
    np.testing.assert_allclose(long[0], long[1], atol=1e-6)


def test_progress_is_told(folder, monkeypatch):
    monkeypatch.setattr(encoder, "SECONDS_BETWEEN_LINES", -1.0)
    monkeypatch.setattr(encoder, "BATCH_TOKENS", 1)
    lines = []
    encode_items_text(ITEMS, folder, report=lines.append)
    assert lines == [f"text encoder: {n} of 3 items" for n in (1, 2, 3)]


def test_new_items_need_the_encoder_of_the_build(folder, tmp_path):
    kept = TextEncoder(str(folder), digest_of(folder), 16)
    np.testing.assert_allclose(kept.of_new(ITEMS), encode_items_text(ITEMS, folder))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="is not the text encoder of the build any more"):
        TextEncoder(str(tmp_path), kept.digest, 16).of_new(ITEMS)


def test_a_folder_that_cannot_be_loaded_is_told_with_what_it_needs(tmp_path):
    with pytest.raises(ConfigError, match="is not there; name a folder with an encoder"):
        encode_items_text(ITEMS, tmp_path / "nothing")
    with pytest.raises(ConfigError, match=r"cannot be loaded \(.*needs config\.json, a tokenizer"):
        encode_items_text(ITEMS, tmp_path)


def test_weights_that_are_pickles_are_refused(folder, tmp_path):
    for path in folder.iterdir():
        if path.suffix != ".safetensors":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    torch.save(BertModel.from_pretrained(folder).state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        encode_items_text(ITEMS, tmp_path)
