import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from onerec.build.ids.semantic_ids import make_ids
from onerec.build.ids.stored import load_codebooks
from onerec.build.split import leave_last_out
from onerec.config import BuildData, Vocab
from onerec.errors import ConfigError, DataError
from tests.build import films

VOCAB = Vocab(itemic_layer_n=3, vocab_size_per_layer=8)


@pytest.fixture(scope="module")
def interactions():
    return films.interactions(films.items(60), films.users(30), films.events(30, 60, each=12))


def settings(**keys):
    return BuildData(source="movielens-100k", item_vector_size=8, **keys)


def made(interactions, folder, *, seed=1, **keys):
    split = leave_last_out(interactions)
    return make_ids(interactions, split, data=settings(**keys), vocab=VOCAB, seed=seed, folder=folder)


def files(folder):
    return {path.name: path.read_bytes() for path in (folder / "codebooks").iterdir()}


@pytest.mark.parametrize("clustering", ["kmeans", "balanced"])
def test_the_same_seed_gives_the_same_ids_and_files_and_another_seed_others(
    interactions, tmp_path, clustering
):
    first, again, other = (
        made(interactions, tmp_path / name, seed=seed, clustering=clustering)
        for name, seed in (("first", 1), ("again", 1), ("other", 2))
    )
    assert first.codes_NL.tolist() == again.codes_NL.tolist() != other.codes_NL.tolist()
    assert first.quality == again.quality
    assert files(tmp_path / "first") == files(tmp_path / "again") != files(tmp_path / "other")


def test_events_that_are_held_out_change_no_id_and_no_file(interactions, tmp_path):
    held_out = ~leave_last_out(interactions).is_trained(interactions)
    other = replace(interactions, items_E=np.where(held_out, 0, interactions.items_E).astype(np.int32))
    first, again = made(interactions, tmp_path / "first"), made(other, tmp_path / "again")
    assert first.codes_NL.tolist() == again.codes_NL.tolist()
    assert files(tmp_path / "first") == files(tmp_path / "again")


def test_codebooks_are_read_back_as_they_were_and_tell_the_quality(interactions, tmp_path):
    ids = made(interactions, tmp_path)
    stored = load_codebooks(tmp_path)
    assert [book.size for book in stored.books] == [8, 8, 8]
    new = stored.vectoriser.of_new(interactions.items)
    assert new.shape == (60, 8)
    assert np.mean(np.sum(new**2, axis=1)) == pytest.approx(0.5, rel=1e-4)  # text_share, and no choices
    told = json.loads((tmp_path / "codebooks" / "quality.json").read_bytes())
    assert told == json.loads(json.dumps(ids.quality.as_json()))
    assert ids.report_lines(8) == ids.quality.lines(8)


def test_given_ids_are_taken_and_their_codebooks_made_of_them(interactions, tmp_path):
    codes = np.stack(np.unravel_index(np.arange(61) * 7 % 512, (8, 8, 8)), axis=1)
    pids = [*(item.pid for item in interactions.items), "unknown"]
    pq.write_table(pa.table({"pid": pids, "sid": codes.tolist()}), tmp_path / "ids.parquet")
    ids = made(interactions, tmp_path, given_ids=str(tmp_path / "ids.parquet"))
    assert ids.codes_NL.tolist() == codes[:60].tolist()
    assert ids.report_lines(8)[-1] == "1 ids of items that are not in the data (unknown); left out"
    assert 0 < ids.quality.levels[2].error < 1
    assert len(load_codebooks(tmp_path).books) == 3


def test_codebooks_that_are_missing_or_damaged_are_told(interactions, tmp_path):
    with pytest.raises(ConfigError, match="codebooks is not there; name the output folder of a build_data"):
        load_codebooks(tmp_path)
    made(interactions, tmp_path)
    (tmp_path / "codebooks" / "codebooks.safetensors").write_bytes(b"cut")
    with pytest.raises(DataError, match="codebooks cannot be read"):
        load_codebooks(tmp_path)


def test_more_items_than_ids_names_the_keys_to_raise(interactions, tmp_path):
    small = Vocab(itemic_layer_n=2, vocab_size_per_layer=7)
    with pytest.raises(ConfigError, match="60 items do not fit into 2 levels of 7 codes"):
        make_ids(
            interactions,
            leave_last_out(interactions),
            data=settings(),
            vocab=small,
            seed=1,
            folder=tmp_path,
        )
