"""The item map that goes along with a model, so that whoever has the folder can ask it for items.

It is checked against the model's vocabulary and read back; which items there are is decided elsewhere.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pyarrow.parquet as pq

from onerec.errors import ConfigError, StorageError
from onerec.items.item_map import ITEMS_NAME, METADATA_KEY, check_fit, load_item_map
from onerec.model.hf_folder import read_itemic_vocab

COLUMNS = ("pid", "sid", "sid_text", "title", "year", "categories", "train_popularity")
"""What goes along of a build's items.parquet; long texts stay behind."""


def ship_item_map(source: Path, folder: Path, *, add_think_pattern: bool) -> str:
    """Write onerec_items.parquet into a model folder in one move; returns what was proved, in words.

    Raises ConfigError for a map that is not there or does not fit the model's vocabulary, DataError for one
    that cannot be, StorageError for a copy that reads back differently.
    """
    items = load_item_map(source)
    check_fit(items, read_itemic_vocab(folder), whose=f"the model that {source} goes along with")
    table = pq.read_table(source, columns=[name for name in COLUMNS if name in pq.read_schema(source).names])
    about = {**items.about, "add_think_pattern": add_think_pattern}
    table = table.replace_schema_metadata({METADATA_KEY: json.dumps(about, ensure_ascii=False).encode()})
    temporary = folder / f".{ITEMS_NAME}.tmp"
    pq.write_table(table, temporary, write_page_checksum=True)
    if not pq.read_table(temporary, page_checksum_verification=True).equals(table):
        raise StorageError(f"{temporary} reads back differently than {source}; mend the disk")
    temporary.replace(folder / ITEMS_NAME)
    return f"{len(items):,} items, no two alike, all within the vocabulary; read back equal"


def digest_of(source: Path, *, add_think_pattern: bool) -> str:
    """What tells the shipped map of this source from every other."""
    try:
        content = source.read_bytes()
    except OSError as fault:
        raise ConfigError(f"{source} cannot be read ({fault.strerror}); give an item map") from fault
    return hashlib.sha256(content + str(add_think_pattern).encode()).hexdigest()
