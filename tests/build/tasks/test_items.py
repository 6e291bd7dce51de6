import numpy as np

from onerec.build.interactions import Item
from onerec.build.tasks.items import described_items, description_tables
from tests.build.tasks.materials import interactions, material, rows

ITEMS = tuple(Item(str(n), f"Film {n}" if n % 10 else "", 1990, ("Drama",), "") for n in range(100))


def test_one_in_twenty_items_that_have_a_text_is_held_out_by_the_seed():
    described, held_out = described_items(material(interactions(items=ITEMS)))
    assert len(held_out) == round(0.05 * 90)
    assert sorted([*described, *held_out]) == [n for n in range(100) if n % 10]
    again, other = (described_items(material(interactions(items=ITEMS), seed=seed))[1] for seed in (3, 4))
    assert held_out.tolist() == again.tolist() != other.tolist()


def test_at_most_a_thousand_items_are_held_out():
    items = tuple(Item(str(n), "x") for n in range(21_000))
    described, held_out = described_items(material(interactions(items=items)))
    assert (len(described), len(held_out)) == (20_000, 1000)


def test_an_item_is_described_in_the_language_of_the_question():
    made = material(interactions(items=ITEMS), languages=("en", "zh"))
    chats = rows(description_tables(made, np.arange(1, 10), folder="sft"))
    answers = {
        "en": "Film {} (1990). Categories: Drama.",
        "zh": "《Film {}》（1990）。类别：Drama。",
    }
    languages = set()
    for row in chats:
        language = "zh" if "是" in row["said"][0] or "请" in row["said"][0] else "en"
        languages.add(language)
        assert f"<{row['metadata']['pid']}>" in row["said"][0]
        assert row["said"][1] == answers[language].format(row["metadata"]["pid"])
    assert languages == {"en", "zh"}
