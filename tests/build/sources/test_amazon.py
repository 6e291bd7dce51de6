"""Amazon's layouts of 2014, 2018 and 2023, recognised by what is in the files, and odd ones told."""

import gzip
import json

import numpy as np
import pytest

from onerec.build.interactions import Interactions, Item, User
from onerec.build.sources import amazon
from onerec.build.sources.find import find
from onerec.config.build import BuildData, Policy
from onerec.errors import ConfigError, DataError
from tests.build import films
from tests.build.sources.same import assert_same

NOON = 1_400_000_000
REVIEWS = [("AX", "B01", 5.0, NOON + 2), ("AX", "0002", 3.0, NOON + 1), ("AY", "B01", 1.0, NOON)]
UNTIDY = "users whose events do not stand in order of time: 1 (user AX); sorted (policy.unordered_times)"
LONELY = (
    "users with one event, of which nothing can be held out: 1 (user AY); "
    "trained on, not evaluated (policy.users_with_one_event)"
)
TITLES = {"0002": "Pens & Ink", "B01": "Red \u201cBox\u201d"}
TEXTS = {"0002": "Acme. Good. Blue", "B01": ""}
KINDS = {"0002": ("Office", "Pens"), "B01": ()}


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def old_reviews():
    keys = ("reviewerID", "asin", "overall", "unixReviewTime")
    rows = [dict(zip(keys, review, strict=True)) for review in REVIEWS]
    return lines(
        [{**row, "reviewText": "I {like} it", "summary": "ok", "reviewTime": "05 13, 2014"} for row in rows]
    )


def of_2014():
    metas = [
        {
            "asin": "0002",
            "title": "Pens &amp; Ink",
            "description": "Good.  Blue",
            "brand": "Acme",
            "categories": [["Office", "Pens"], ["Office"]],
            "related": {"also_bought": ["B01"]},
            "price": 1.5,
        },
        {"asin": "B01", "title": "Red \u201cBox\u201d", "salesRank": {"Toys": 3}},
        {"asin": "B99", "title": "never reviewed"},
    ]
    literals = "".join(f"{meta!r}\n" for meta in metas).encode()
    return {
        "reviews_Office_5.json.gz": gzip.compress(old_reviews()),
        "meta_Office.json.gz": gzip.compress(literals),
    }


def of_2018():
    metas = [
        {
            "asin": "0002",
            "title": "Pens &amp; Ink",
            "description": ["Good.", "Blue"],
            "brand": "Acme",
            "category": ["Office", "Pens"],
            "also_buy": ["B01"],
        },
        {"asin": "B01", "title": "Red &ldquo;Box&rdquo;", "description": [], "brand": "", "category": []},
        {"asin": "B99", "title": "never reviewed"},
    ]
    return {"Office_5.json.gz": gzip.compress(old_reviews()), "meta_Office.json": lines(metas)}


def metas_of_2023():
    return lines(
        [
            {
                "parent_asin": "0002",
                "main_category": "Office",
                "title": "Pens &amp; Ink",
                "description": ["Acme", "Good.", "Blue"],
                "categories": ["Office", "Pens"],
                "price": None,
            },
            {"parent_asin": "B01", "main_category": None, "title": "Red \u201cBox\u201d", "description": []},
            {"parent_asin": "B99", "title": "never reviewed"},
        ]
    )


def of_2023():
    reviews = [
        {
            "rating": rating,
            "title": "ok",
            "text": "I like it",
            "images": [],
            "asin": "B01V",
            "parent_asin": item,
        }
        | {"user_id": user, "timestamp": time * 1000 + 999}
        for user, item, rating, time in REVIEWS
    ]
    return {
        "Office.jsonl.gz": gzip.compress(lines(reviews)),
        "meta_Office.jsonl.gz": gzip.compress(metas_of_2023()),
    }


def core_of_2023(ending="\n"):
    rows = ["user_id,parent_asin,rating,timestamp"]
    rows += [f"{user},{item},{rating},{time * 1000 + 999}" for user, item, rating, time in REVIEWS]
    text = "".join(row + ending for row in rows).encode()
    return {"Office.csv": text, "meta_Office.jsonl.gz": gzip.compress(metas_of_2023())}


def found(folder, **policy):
    data = BuildData(source="amazon-reviews", path=str(folder), policy=Policy(**policy))
    return find(data, cache_dir=folder / "cache")


def message(folder, kind=DataError, **policy):
    with pytest.raises(kind) as told:
        found(folder, **policy)
    return str(told.value)


@pytest.mark.parametrize(
    "files",
    [of_2014(), of_2018(), of_2023(), core_of_2023(), core_of_2023("\r\n")],
    ids=["2014", "2018", "2023", "core of 2023", "core of 2023 for Windows"],
)
def test_every_layout_gives_the_same_data_set(tmp_path, files):
    films.write(files, tmp_path)
    meta = next(name for name in files if name.startswith("meta"))
    expected = Interactions(
        items=tuple(Item(pid, TITLES[pid], None, KINDS[pid], TEXTS[pid]) for pid in ("0002", "B01")),
        users=(User("AX"), User("AY")),
        offsets_U1=np.array([0, 2, 3]),
        items_E=np.array([0, 1, 1], dtype=np.int32),
        times_E=np.array([NOON + 1, NOON + 2, NOON]),
        ratings_E=np.array([3, 5, 1], dtype=np.float32),
        remarks=(f"products of {meta} without a review here: 1; left out", UNTIDY, LONELY),
    )
    whole = found(tmp_path)
    assert_same(whole.interactions, expected)
    assert whole.origin == str(tmp_path)
    assert "cite the paper" in whole.licence


def test_several_meta_files_describe_one_set(tmp_path):
    files = of_2018()
    first, rest = files.pop("meta_Office.json").split(b"\n", 1)
    films.write({**files, "meta_A.json": first + b"\n", "meta_B.json": rest}, tmp_path)
    assert [item.pid for item in found(tmp_path).interactions.items] == ["0002", "B01"]


def test_products_that_no_meta_file_describes_follow_the_policy(tmp_path):
    films.write({**of_2018(), "meta_Office.json": b'{"asin": "0002", "title": "Pens"}\n'}, tmp_path)
    told = (
        "interactions with items (1 of them) that are not among the 1 described: 2 "
        "(Office_5.json.gz, row 1: item 'B01'; Office_5.json.gz, row 3: item 'B01')"
    )
    assert message(tmp_path) == (
        f"amazon-reviews:\n  {told}; correct them, or choose otherwise with policy.unknown_items"
    )
    lenient = found(tmp_path, unknown_items="drop").interactions
    assert (lenient.num_events, [user.uid for user in lenient.users]) == (1, ["AX"])
    assert f"{told}; left out (policy.unknown_items)" in lenient.remarks


def test_a_product_described_twice_follows_the_policy(tmp_path):
    twice = b'{"asin": "B01", "title": "second"}\n'
    films.write({**of_2018(), "meta_Twice.json": twice}, tmp_path)
    assert (
        "rows about an item that an earlier row describes: 1 (meta_Twice.json, row 1: item 'B01')"
        in message(tmp_path)
    )
    assert found(tmp_path, duplicate_items="first").interactions.items[1].title == TITLES["B01"]


def test_missing_values_and_lines_that_are_no_reviews_are_told_together(tmp_path):
    more = [
        {"reviewerID": "AZ", "asin": "B01", "overall": 5},
        {"reviewerID": "AZ", "overall": 5, "unixReviewTime": NOON},
        {"reviewerID": "AZ", "asin": "B01", "overall": "much", "unixReviewTime": NOON},
        {"reviewerID": "AZ", "asin": "B01", "overall": 5, "unixReviewTime": "then"},
    ]
    reviews = old_reviews() + lines(more) + b'{"reviewerID": "AZ", \n' + b"[" * 100_000 + b"\n"
    metas = of_2018()["meta_Office.json"] + b'{"asin": "B01", "title": \n'
    films.write({"Office_5.json": reviews, "meta_Office.json": metas}, tmp_path)
    assert message(tmp_path) == (
        "amazon-reviews:\n"
        "  lines of Office_5.json that are no reviews: 4 (line 6; line 7; line 8; ...); "
        "correct or remove them, or fetch the file again\n"
        "  lines of meta_Office.json that are no products: 1 (line 4); "
        "correct or remove them, or fetch the file again\n"
        "  interactions without a user, an item or a time: 2 (Office_5.json, row 4; Office_5.json, row 5); "
        "correct them, or choose otherwise with policy.missing_values"
    )


def test_a_meta_file_is_data_and_never_run(tmp_path):
    path = tmp_path / "was_run"
    trap = f"{{'asin': 'B01', 'title': open({str(path)!r}, 'w')}}\n".encode()
    deep = b"{'asin': 'B01', 'title': " + b"(" * 50_000 + b"\n"
    films.write(
        {**of_2014(), "meta_Office.json.gz": gzip.compress(b"{'asin': '0002'}\n" + trap + deep)}, tmp_path
    )
    assert "lines of meta_Office.json.gz that are no products: 2 (line 2; line 3)" in message(tmp_path)
    assert not path.exists()


@pytest.mark.parametrize("name", ["reviews_Office_5.json.gz", "meta_Office.json.gz"])
def test_a_file_that_ends_too_early_is_an_error_that_names_it(tmp_path, name):
    films.write({**of_2014(), name: of_2014()[name][:-12]}, tmp_path)
    assert message(tmp_path) == (
        f"{tmp_path / name} is damaged (Compressed file ended before the end-of-stream marker was reached); "
        "fetch it again"
    )


def test_an_endless_line_does_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(amazon, "MAX_LINE_BYTES", 1000)
    bomb = gzip.compress(b'{"reviewerID": "' + b"A" * 10**7)
    films.write({**of_2018(), "Office_5.json.gz": gzip.compress(old_reviews()) + bomb}, tmp_path)
    assert message(tmp_path) == (
        f"{tmp_path / 'Office_5.json.gz'} has a line of more than 1,000 bytes; fetch it again"
    )


def test_two_files_of_reviews_are_ambiguous(tmp_path):
    films.write({**of_2023(), **core_of_2023()}, tmp_path)
    assert message(tmp_path, ConfigError) == (
        f"path {tmp_path} is ambiguous: Office.csv, Office.jsonl.gz all hold reviews; "
        "leave one of them in the folder"
    )


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({}, "has no reviews; it has no such file"),
        (
            {"notes.json": b"[1]\n", "empty.json": b""},
            "has no reviews; it has empty.json (unknown), notes.json (unknown)",
        ),
        (
            {"Office_5.json": old_reviews()},
            "has no meta file, which describes the products; it has Office_5.json (reviews)",
        ),
        (
            {"meta_Office.json": of_2018()["meta_Office.json"], "x.csv": b"a,b,5.0,1\n"},
            "has no reviews; it has meta_Office.json (meta), x.csv (unknown)",
        ),
    ],
)
def test_a_folder_that_lacks_something_is_told_with_what_it_has(tmp_path, files, told):
    films.write(files, tmp_path)
    assert message(tmp_path, ConfigError) == f"path {tmp_path} {told}; name {amazon.WANTED}"


def test_without_a_folder_it_is_told_what_to_name(tmp_path):
    (tmp_path / "file").write_text("")
    assert (
        message(tmp_path / "file", ConfigError) == f"path {tmp_path}/file is no folder; name {amazon.WANTED}"
    )
    with pytest.raises(ConfigError, match='source = "amazon-reviews" needs path, a folder with'):
        find(BuildData(source="amazon-reviews"), cache_dir=tmp_path)
