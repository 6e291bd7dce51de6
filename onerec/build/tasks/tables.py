"""Columns of rows put together in OpenOneRec's format, without an object per row.

All texts are escaped for JSON already. Nothing here knows what rows say.

Shapes: R rows.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from onerec.build.rows import SCHEMA
from onerec.build.tasks.columns import Text, beside, same

Metadata = Mapping[str, "pa.StringArray | pa.IntegerArray | pa.BooleanArray"]


def text_table(source: str, *, uuids: Text, metadata: Metadata, texts: Text) -> pa.Table:
    """Rows of one text segment each."""
    segments = beside('[{"type":"text","text":"', texts, '"}]')
    return _table(source, uuids, metadata, {"segments": segments})


def chat_table(source: str, *, uuids: Text, metadata: Metadata, questions: Text, answers: Text) -> pa.Table:
    """Rows of one question and its answer each."""
    messages = beside(
        '[{"role":"user","content":"', questions, '"},{"role":"assistant","content":"', answers, '"}]'
    )
    return _table(source, uuids, metadata, {"messages": messages})


def _table(source: str, uuids: Text, metadata: Metadata, content: Mapping[str, Text]) -> pa.Table:
    given = {
        "uuid": uuids,
        "source": same(source, len(uuids)),
        "metadata": _json(metadata),
        **content,
    }
    empty = pa.nulls(len(uuids), pa.string())
    return pa.table([given.get(name, empty) for name in SCHEMA.names], schema=SCHEMA)


def _json(columns: Metadata) -> Text:
    """One JSON object a row."""
    pieces: list[Text | str] = []
    for place, (name, column) in enumerate(columns.items()):
        opening = f'{"," if place else "{"}"{name}":'
        if pa.types.is_string(column.type):
            pieces += [f'{opening}"', column, '"']
        else:
            pieces += [opening, pc.cast(column, pa.string())]
    return beside(*pieces, "}")
