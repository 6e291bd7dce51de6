import json

import numpy as np
import pyarrow as pa
import pytest

from onerec.build.tasks.columns import texts
from onerec.build.tasks.wording import WordingError, fill, read_wording


def said(text, /, **fields):
    """The wording's column for one row, and its text; both must be the same."""
    wording = read_wording(text, "en")
    column = wording.column({name: texts([value]) for name, value in fields.items()})
    plain = json.loads(f'"{column[0].as_py()}"')
    assert plain == wording.text(fields)
    return plain


@pytest.mark.parametrize(
    ("text", "fields", "wanted"),
    [
        ("After {history}?", {"history": "<1>"}, "After <1>?"),
        ("{title}[ ({year})].[ {text}]", {"title": "A", "year": "1999", "text": ""}, "A (1999)."),
        ("{title}[ ({year}, {text})]", {"title": "A", "year": "1999", "text": ""}, "A"),
        ('"{title}"\n', {"title": 'B\\"\u2028电影'}, '"B\\"\u2028电影"\n'),
        ("{{title}} [[{title}]] }}", {"title": "A"}, "{title} [A] }"),
    ],
)
def test_fields_are_filled_in_and_brackets_with_an_empty_field_are_left_out(text, fields, wanted):
    assert said(text, **fields) == wanted


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{History}", "a lone {; a field is {name}, and a brace that is meant is {{"),
        ("{title", "a lone {"),
        ("title}", "a lone }"),
        ("[a {title}", "a [ that is not closed"),
        ("a] {title}", "a ] without ["),
        ("[{title}[ {year}]]", "a [ within [ ]"),
        ("{title} [sic]", "[ ] without a field in it"),
    ],
)
def test_what_is_no_wording_is_told_with_the_remedy(text, why):
    with pytest.raises(WordingError) as told:
        read_wording(text, "en")
    assert why in str(told.value)


def test_words_are_put_in_and_other_fields_stay():
    wording = read_wording("Which {thing} after {history}[ in {year}]?", "en").put({"thing": "film"})
    assert (wording.required, wording.fields) == ({"history"}, {"history", "year"})
    assert wording.text({}) == "Which film after {history}?"


def test_each_row_gets_the_wording_of_its_number_in_its_language():
    wordings = [read_wording(text, language) for text, language in (("a {x}", "en"), ("b {x}", "zh"))]
    fields = {"en": {"x": pa.array(["0", "1", "2"])}, "zh": {"x": pa.array(["零", "一", "二"])}}
    assert fill(wordings, np.array([1, 0, 1]), fields).to_pylist() == ["b 零", "a 1", "b 二"]
    assert fill(wordings, np.array([], dtype=np.int64), fields).to_pylist() == []
