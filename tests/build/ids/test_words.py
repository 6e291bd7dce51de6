import pytest

from onerec.build.ids.words import words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The Red River, 1951!", ["the", "red", "river", "1951"]),
        ("", []),
        ("Étrange l'été", ["étrange", "l", "été"]),
        ("红楼梦", ["红", "楼", "梦", "红楼", "楼梦"]),
        ("看", ["看"]),
        ("Alien外星人2", ["alien", "外", "星", "人", "外星", "星人", "2"]),
        ("となりのトトロ"[:3], ["と", "な", "り", "とな", "なり"]),
        ("ＡＢＣ", ["abc"]),  # full-width letters are letters
        ("살인의 추억", ["살인의", "추억"]),  # Korean has blanks
    ],
)
def test_words_are_what_blanks_separate_and_characters_and_pairs_where_there_are_none(text, words):
    assert words_of(text) == words
