"""A model folder that cannot be trained is refused by name, before anything is built."""

import json

import pytest

from onerec.config import ModelSource
from onerec.errors import ConfigError
from onerec.model.build import read_config, read_vocab
from tests import tiny


@pytest.fixture
def folder(tiny_programme, tmp_path):
    """A copy of the expanded model's small files."""
    for name in ("config.json", "onerec_vocab.json"):
        (tmp_path / name).write_bytes((tiny_programme / "expanded" / "model" / name).read_bytes())
    return tmp_path


def change(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"architectures": ["LlamaForCausalLM"]}, "is of LlamaForCausalLM, not Qwen3ForCausalLM"),
        ({"architectures": None}, "is of no architecture, not Qwen3ForCausalLM"),
        ({"model_type": "qwen7"}, "holds a qwen7 model; Qwen3ForCausalLM needs qwen3"),
        ({"model_type": "llama"}, "holds a llama model; Qwen3ForCausalLM needs qwen3"),
    ],
)
def test_another_class_of_model_is_refused(folder, values, message):
    change(folder, **values)
    with pytest.raises(ConfigError, match=message):
        read_config(ModelSource(model_dir=str(folder)))


def test_a_folder_without_a_config_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"config\.json is missing; give a complete Hugging Face folder"):
        read_config(ModelSource(model_dir=str(tmp_path)))


def test_a_tie_that_the_folder_does_not_have_is_refused(folder):
    assert read_config(ModelSource(model_dir=str(folder), use_tie_weights=True)).tie_word_embeddings
    with pytest.raises(ConfigError, match=r"use_tie_weights = false, but .* make them agree"):
        read_config(ModelSource(model_dir=str(folder), use_tie_weights=False))


def test_a_folder_that_was_not_expanded_is_refused(folder):
    assert read_vocab(folder, tiny.VOCAB).num_tokens == 26
    with pytest.raises(ConfigError, match="was expanded by 3 x 8 codes"):
        read_vocab(folder, tiny.VOCAB.model_copy(update={"vocab_size_per_layer": 9}))
    (folder / "onerec_vocab.json").unlink()
    with pytest.raises(ConfigError, match='no itemic tokens; put a stage with kind = "expand_vocab" before'):
        read_vocab(folder, tiny.VOCAB)
