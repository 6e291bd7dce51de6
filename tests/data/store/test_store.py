from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onerec.data.preparation.columns import uuid_hash
from onerec.data.preparation.prepare import prepare
from onerec.data.store.store import Store
from onerec.errors import DataError
from tests.data.rows import identifier, text, write_rows


def test_index_arrays_agree_with_the_samples(make_config, parquet_dir):
    config = make_config(parquet_dir)
    prepare(config)
    store = Store(config.output_dir)
    for number in range(len(store)):
        sample = store.sample(number)
        assert len(sample.input_ids) == store.lengths[number]
        assert np.diff(sample.spans).sum() == store.trained[number]
        assert sample.source == store.sources_of[number]
        assert uuid_hash(sample.uuid) == store.uuid_hashes[number]


def test_the_pieces_of_a_row_have_its_uuid(make_config, tmp_path):
    write_rows(tmp_path / "a.parquet", [text("ok the " * 20, number=1), text("the ok", number=2)])
    config = make_config(tmp_path / "a.parquet", max_sample_length=16)
    prepare(config)
    hashes = Store(config.output_dir).uuid_hashes.tolist()
    assert len(hashes) > 3
    assert hashes == [uuid_hash(identifier(1))] * (len(hashes) - 1) + [uuid_hash(identifier(2))]


def test_a_folder_without_a_store_is_told(tmp_path):
    with pytest.raises(DataError, match="no prepared dataset; run its prepare step first"):
        Store(tmp_path)


def test_a_damaged_token_file_is_told_with_its_remedy(make_config, parquet_dir):
    config = make_config(parquet_dir)
    prepare(config)
    path = min((Path(config.output_dir) / "tokens").glob("*.arrow"))
    path.write_bytes(path.read_bytes()[:100])
    store = Store(config.output_dir)
    with pytest.raises(DataError, match=r"\.arrow: cannot be read: .*; remove it and prepare again"):
        [store.sample(number) for number in range(len(store))]
