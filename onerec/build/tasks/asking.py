"""The four kinds of chat about an event: what is next, and of a type; is it liked; what was asked for.

Each says what its rows have beside the history, and which events it can ask for.

Shapes: E events, R rows.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from onerec.build.interactions import Int64
from onerec.build.tasks.chats import Asked, ChatTask, Said
from onerec.build.tasks.columns import Text, escaped, numbers, same, taken, texts
from onerec.build.tasks.material import Material, clean


def next_item(_: Material) -> ChatTask:
    """Which item comes next."""
    return ChatTask("next_item", lambda material, asked, _: Said(_targets(material, asked)))


def typed_next_item(material: Material) -> ChatTask:
    """Which item comes next, among those that the user meets in a certain way."""
    assert material.types is not None, "left out where the data has no types"
    return ChatTask("typed_next_item", _typed, material.types.types_E >= 0)


def label_prediction(material: Material) -> ChatTask:
    """Whether the user likes the item of the event."""
    assert material.labels is not None, "left out where the data has no labels"
    return ChatTask("label_prediction", _labelled, material.labels.known_E)


def interactive(material: Material) -> ChatTask:
    """Which item the user chose after asking for something in words."""
    assert material.has_query is not None, "left out where the data has no queries"
    return ChatTask("interactive", _queried, material.has_query)


def _targets(material: Material, asked: Asked) -> Text:
    return taken(material.spelled_N, material.interactions.items_E[asked.events_R])


def _typed(material: Material, asked: Asked, _: Int64) -> Said:
    assert material.types is not None, "left out where the data has no types"
    types_R, names = material.types.types_E[asked.events_R], material.types.names
    templates = material.templates
    fields = {
        language: {"type": taken(texts(templates.said_type(name, language) for name in names), types_R)}
        for language in templates.languages
    }
    return Said(_targets(material, asked), fields, {"type": taken(texts(names), types_R)})


def _labelled(material: Material, asked: Asked, languages_R: Int64) -> Said:
    assert material.labels is not None, "left out where the data has no labels"
    templates, labels = material.templates, material.labels
    items = _targets(material, asked)
    fields = {
        language: {
            "item": items,
            "type": same(
                escaped("/".join(templates.said_type(name, language) for name in labels.asked)), len(items)
            ),
        }
        for language in templates.languages
    }
    yes, no = (
        taken(texts(templates.words[language][word] for language in templates.languages), languages_R)
        for word in ("yes", "no")
    )
    positive_R = pa.array(labels.positive_E[asked.events_R])
    answers = pc.if_else(positive_R, yes, no)
    return Said(answers, fields, {"label": positive_R, "yes": yes, "no": no})


def _queried(material: Material, asked: Asked, _: Int64) -> Said:
    queries_E = material.interactions.queries_E
    assert queries_E is not None, "left out where the data has no queries"
    queries = texts(clean(query) for query in queries_E.take(numbers(asked.events_R)).to_pylist())
    fields = {language: {"query": queries} for language in material.templates.languages}
    return Said(_targets(material, asked), fields)
