import numpy as np
import pytest

from onerec.build.interactions import Item, User
from onerec.build.sources.movielens import ML_1M, ML_100K
from onerec.errors import DataError
from tests.build import films
from tests.build.sources.same import assert_same

SMALL = (films.items(20), films.users(5), films.events(5, 20, each=6))


@pytest.mark.parametrize("files_of", [films.grouplens_files, films.recbole_files])
def test_both_formats_give_the_same_interactions(files_of):
    assert_same(ML_100K.parse(files_of(*SMALL)), films.raw(*SMALL))


def test_real_lines_of_grouplens_are_read():
    flags = "0|0|0|1|1|1|0|0|0|0|0|0|0|0|0|0|0|0|0"
    nothing = "1|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0"
    parsed = ML_100K.parse(
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
    assert ML_100K.parse(recbole).items == (Item("267", "unknown", None, ()),)


def test_without_its_file_nothing_is_told_of_users():
    files = films.grouplens_files(*SMALL)
    del files["u.user"]
    assert ML_100K.parse(files).users == ()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("u.data", b""),
        ("u.data", b"196\t1\t3\n"),
        ("u.data", b"196\t1\t3\tyesterday\n"),
        ("u.item", b"1|Toy Story"),
        ("u.user", b"1|x|"),
    ],
)
def test_a_damaged_file_is_an_error_that_names_the_files(name, content):
    with pytest.raises(DataError, match=r"u\.data, u\.item or u\.user is damaged"):
        ML_100K.parse(films.grouplens_files(*SMALL) | {name: content})


def test_other_files_are_refused():
    with pytest.raises(DataError, match=r"u\.data and u\.item or ml-100k\.inter and ml-100k\.item"):
        ML_100K.parse({"ratings.csv": b""})


def test_only_the_whole_set_is_complete():
    assert ML_100K.is_complete(films.raw(*films.whole_size()))
    assert not ML_100K.is_complete(films.raw(*SMALL))


MILLION = {
    "ratings.dat": b"1::1193::5::978300760\n1::661::3::978302109\n2::1193::4::978298413\n",
    "movies.dat": (
        "661::James and the Giant Peach (1996)::Animation|Children's|Musical\n"
        "1193::One Flew Over the Cuckoo's Nest (1975)::Drama\n"
        "2059::Misérables, Les (1995)::Drama\n"
    ).encode("latin-1"),
    "users.dat": b"1::F::1::10::48067\n2::M::56::16::70072\n",
}
MILLION_OF_RECBOLE = {
    "ml-1m.inter": (
        b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
        b"1\t1193\t5\t978300760\n1\t661\t3\t978302109\n2\t1193\t4\t978298413\n"
    ),
    "ml-1m.item": (
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tgenre:token_seq\n"
        "661\tJames and the Giant Peach\t1996\tAnimation Children's Musical\n"
        "1193\tOne Flew Over the Cuckoo's Nest\t1975\tDrama\n"
        "2059\tMisérables, Les\t1995\tDrama\n"
    ).encode(),
    "ml-1m.user": (
        b"user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
        b"1\t1\tF\t10\t48067\n2\t56\tM\t16\t70072\n"
    ),
}


@pytest.mark.parametrize("files", [MILLION, MILLION_OF_RECBOLE])
def test_real_lines_of_the_million_are_read_in_both_formats(files):
    parsed = ML_1M.parse(files)
    assert parsed.items == (
        Item("661", "James and the Giant Peach", 1996, ("Animation", "Children's", "Musical")),
        Item("1193", "One Flew Over the Cuckoo's Nest", 1975, ("Drama",)),
        Item("2059", "Misérables, Les", 1995, ("Drama",)),
    )
    # the README's occupations 10 and 16; its age 1 stands for all below 18, so that no age is known
    assert parsed.users == (User("1", None, "F", "K-12 student"), User("2", 56, "M", "self-employed"))
    assert parsed.events.users_E.to_pylist() == ["1", "1", "2"]
    assert parsed.events.items_E.to_pylist() == ["1193", "661", "1193"]
    assert parsed.events.times_E.tolist() == [978300760, 978302109, 978298413]
    np.testing.assert_array_equal(parsed.events.ratings_E, np.float32([5, 3, 4]))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("ratings.dat", b"1::1193::5\n"),
        ("ratings.dat", b"1::1193::five::978300760\n"),
        ("movies.dat", b"661::James\n"),
        ("users.dat", b"1::F::1::21::48067\n"),
    ],
)
def test_a_damaged_file_of_the_million_is_an_error_that_names_the_files(name, content):
    with pytest.raises(DataError, match=r"ratings\.dat, movies\.dat or users\.dat is damaged"):
        ML_1M.parse(MILLION | {name: content})
