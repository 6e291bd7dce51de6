"""What a stage is put together from has to fit together, and what is not known of the machine is told."""

import json

import pytest
import torch

from onerec.config import DataOrder
from onerec.data.loading.load import PackLoader
from onerec.distributed import World
from onerec.errors import ConfigError
from onerec.model.build import read_vocab
from onerec.train.session import _check_itemic_ids, _peak
from onerec.vocab import ItemicVocab
from tests import tiny

CUDA = torch.device("cuda", 0)


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


def test_the_peak_is_that_of_all_ranks(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    assert _peak(CUDA, world=World(0, 4, 0, 4, "torchrun")) == 4 * 989e12
    assert capsys.readouterr().out == ""


def test_an_unknown_gpu_is_told_once_by_the_first_rank_and_a_cpu_is_not(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    assert [_peak(CUDA, world=World(rank, 2, rank, 2, "torchrun")) for rank in range(2)] == [None, None]
    assert _peak(torch.device("cpu"), world=World(0, 1, 0, 1, "single")) is None
    assert capsys.readouterr().out == "the bf16 peak of 'Tesla T4' is not known, so no MFU is told\n"
