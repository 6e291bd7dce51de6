import pytest

from onerec.build import movielens
from onerec.build.interactions import Item, User, gather
from onerec.errors import DataError
from tests.build import films

SMALL = (films.items(20), films.users(5), films.events(5, 20, each=6))


@pytest.mark.parametrize("files_of", [films.grouplens_files, films.recbole_files])
def test_both_formats_give_the_same_interactions(files_of):
    assert movielens.parse(files_of(*SMALL)) == gather(*SMALL)


def test_real_lines_of_grouplens_are_read():
    flags = "0|0|0|1|1|1|0|0|0|0|0|0|0|0|0|0|0|0|0"
    nothing = "1|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0"
    parsed = movielens.parse(
        {
            "u.data": b"196\t1\t3\t881250949\n",
            "u.item": (
                f"1|Toy Story (1995)|01-Jan-1995||http://us.imdb.com/x|{flags}\n"
                f"267|unknown||||{nothing}\n"
                f"543|Misérables, Les (1995)|01-Jan-1995||http://us.imdb.com/y|{flags}\n"
            ).encode("latin-1"),
            "u.user": b"196|49|M|writer|55105\n",
        }
    )
    assert parsed.items == (
        Item("1", "Toy Story", 1995, ("Animation", "Children's", "Comedy")),
        Item("267", "unknown", None, ()),
        Item("543", "Misérables, Les", 1995, ("Animation", "Children's", "Comedy")),
    )
    assert parsed.users == (User("196", 49, "M", "writer"),)


def test_the_film_without_a_title_is_the_same_in_both_formats():
    recbole = films.recbole_files([], [], [])
    recbole["ml-100k.item"] += b"267\tunkonwn\tunkonwn\tunknown\n"
    recbole["ml-100k.inter"] += b"1\t267\t3\t881250949\n"
    assert movielens.parse(recbole).items == (Item("267", "unknown", None, ()),)


def test_a_missing_user_file_leaves_users_without_a_description():
    files = films.grouplens_files(*SMALL)
    del files["u.user"]
    assert movielens.parse(files).users == tuple(User(str(n)) for n in range(1, 6))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("u.data", b"196\t1\t3\n"),
        ("u.data", b"196\t1\t3\tyesterday\n"),
        ("u.item", b"1|Toy Story"),
        ("u.user", b"1|x|"),
    ],
)
def test_a_damaged_file_is_an_error_that_names_the_files(name, content):
    with pytest.raises(DataError, match=r"u\.data, u\.item or u\.user is damaged"):
        movielens.parse(films.grouplens_files(*SMALL) | {name: content})


def test_other_files_are_refused():
    with pytest.raises(DataError, match=r"u\.data and u\.item or ml-100k\.inter and ml-100k\.item"):
        movielens.parse({"ratings.csv": b""})


def test_only_the_whole_set_is_complete():
    whole = gather(*films.whole_size())
    assert movielens.is_complete(whole)
    assert not movielens.is_complete(gather(*SMALL))
