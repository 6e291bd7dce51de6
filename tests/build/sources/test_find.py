"""The one entrance: each source by its name."""

import pytest

from onerec.build.sources.find import find
from onerec.config.build import BuildData, Policy
from onerec.errors import ConfigError, DataError
from tests.build import films
from tests.build.sources.same import assert_same
from tests.build.sources.test_movielens import MILLION

SMALL = (films.items(20), films.users(5), films.events(5, 20, each=6))


def test_a_film_set_comes_with_its_licence_under_the_policy(tmp_path):
    films.write(films.grouplens_files(*SMALL), tmp_path / "ml")
    data = BuildData(
        source="movielens-100k", path=str(tmp_path / "ml"), policy=Policy(items_without_interactions="drop")
    )
    found = find(data, cache_dir=tmp_path / "cache")
    assert_same(found.interactions, films.interactions(*SMALL, data=data))
    assert (found.origin, found.domain) == (str(tmp_path / "ml"), "film")
    assert found.licence.startswith("MovieLens-100K (GroupLens Research")


def test_the_million_keeps_films_that_nobody_rated_and_what_is_known_of_users(tmp_path):
    films.write(MILLION, tmp_path / "ml-1m")
    found = find(BuildData(source="movielens-1m", path=str(tmp_path)), cache_dir=tmp_path / "cache")
    assert [item.pid for item in found.interactions.items] == ["661", "1193", "2059"]
    assert [user.occupation for user in found.interactions.users] == ["K-12 student", "self-employed"]
    assert found.interactions.ratings_E.tolist() == [5, 3, 4]
    assert found.licence.startswith("MovieLens-1M (GroupLens Research")


def test_the_policy_holds_for_known_sets_too(tmp_path):
    films.write({**MILLION, "movies.dat": b"661::James (1996)::Drama\n"}, tmp_path)
    with pytest.raises(DataError) as told:
        find(BuildData(source="movielens-1m", path=str(tmp_path)), cache_dir=tmp_path / "cache")
    assert str(told.value) == (
        "movielens-1m:\n  interactions with items (1 of them) that are not among the 1 described: 2 "
        "(row 1: item '1193'; row 3: item '1193'); "
        "correct them, or choose otherwise with policy.unknown_items"
    )


def test_a_folder_of_another_set_is_told(tmp_path):
    films.write(films.grouplens_files(*SMALL), tmp_path)
    with pytest.raises(ConfigError) as told:
        find(BuildData(source="movielens-1m", path=str(tmp_path)), cache_dir=tmp_path / "cache")
    assert str(told.value) == (
        f"path {tmp_path} does not hold MovieLens-1M: {tmp_path} has no ratings.dat and movies.dat "
        "or ml-1m.inter and ml-1m.item; name ml-1m.zip or its folder, or leave the key out"
    )
