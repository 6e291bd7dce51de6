"""What profiles say of users: who they are, the categories that they met most, and the items met last.

Only the training part of the split is looked at.

Shapes: U users, R of them, N items, H items of R histories, C categories, P pairs of an item and a category.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow.compute as pc

from onerec.build.interactions import Int64, User
from onerec.build.tasks.columns import Text, beside, is_empty, joined, scalar, taken, texts
from onerec.build.tasks.material import Material, clean, ranges
from onerec.build.tasks.wording import Columns

FAVOURITES = 3
RECENT_ITEMS = 3
PEOPLE = {"M": "man", "F": "woman"}
"""Words for genders; any other is `person`."""


def profile_fields(material: Material, users_R: Int64) -> Mapping[str, Columns]:
    """Fields of profiles by language, for users who have a training part."""
    begins_R = material.interactions.offsets_U1[users_R]
    ends_R = begins_R + material.split.train_lengths_U[users_R]
    people = [material.interactions.users[user] for user in users_R.tolist()]
    alike = {
        "age": texts("" if user.age is None else str(user.age) for user in people),
        "occupation": texts(clean(user.occupation or "") for user in people),
        "categories": _favourites(material, begins_R, ends_R),
        "recent": _recent(material, np.maximum(begins_R, ends_R - RECENT_ITEMS), ends_R),
    }
    words = material.templates.words
    return {language: {**alike, "who": _people(people, words[language])} for language in words}


def _people(people: list[User], words: Mapping[str, str]) -> Text:
    return texts(words[PEOPLE.get(user.gender or "", "person")] for user in people)


def _recent(material: Material, begins_R: Int64, ends_R: Int64) -> Text:
    """Items with their titles."""
    events_H, _ = ranges(begins_R, ends_R)
    items_H = material.interactions.items_E[events_H]
    titles = taken(material.titles, items_H)
    blank = pc.if_else(is_empty(titles), scalar(""), scalar(" "))
    named = beside(taken(material.spelled_N, items_H), blank, titles)
    return joined(named, ends_R - begins_R, separator="; ")


def _favourites(material: Material, begins_R: Int64, ends_R: Int64) -> Text:
    """Categories that a user met most often, and of equals the first by name."""
    names_C, offsets_N1, categories_P = material.categories
    events_H, rows_H = ranges(begins_R, ends_R)
    items_H = material.interactions.items_E[events_H]
    pairs_P, histories_P = ranges(offsets_N1[items_H], offsets_N1[items_H + 1])
    width = max(1, len(names_C))
    met, times = np.unique(rows_H[histories_P] * width + categories_P[pairs_P], return_counts=True)
    rows, categories = met // width, met % width
    order = np.lexsort((categories, -times, rows))
    rows, categories = rows[order], categories[order]
    counts_R = np.bincount(rows, minlength=len(begins_R))
    rank = np.arange(len(rows)) - (np.cumsum(counts_R) - counts_R)[rows]
    return joined(
        taken(names_C, categories[rank < FAVOURITES]), np.minimum(counts_R, FAVOURITES), separator=", "
    )
