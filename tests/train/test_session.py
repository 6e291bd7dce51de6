"""What a stage is put together from has to fit together."""

import json

import pytest

from onerec.config import DataOrder
from onerec.data.loading.load import PackLoader
from onerec.errors import ConfigError
from onerec.model.build import read_vocab
from onerec.train.session import _check_itemic_ids
from onerec.vocab import ItemicVocab
from tests import tiny


def test_data_that_was_prepared_with_other_itemic_ids_than_the_model_has_is_refused(tiny_programme, tmp_path):
    config = tiny.train_config(tiny_programme, tmp_path / "stage")
    order = DataOrder.model_validate_json(json.dumps(config["data"]))
    loader = PackLoader(order, rank=0, world_size=1, packs_per_step=2, pad_to=None)
    model_dir = tiny_programme / "expanded" / "model"
    vocab = read_vocab(model_dir, tiny.VOCAB)
    _check_itemic_ids(loader, vocab, model_dir=model_dir)
    moved = ItemicVocab(vocab.layer_n, vocab.size_per_layer, vocab.first_id + 1)
    ids = f"ids {vocab.first_id} to {vocab.last_id}, .* has {moved.first_id} to {moved.last_id}; prepare them"
    with pytest.raises(ConfigError, match=ids):
        _check_itemic_ids(loader, moved, model_dir=model_dir)
