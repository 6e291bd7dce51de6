"""The tokenizer that a dataset will be prepared with, also before the stage that expands it has run.

The code that expands a model's tokenizer does it, in a folder that the caller gives.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from onerec.config import Vocab
from onerec.data.text.tokenizer import TOKENIZER_FILES
from onerec.errors import ConfigError
from onerec.model.itemic_tokenizer import add_itemic_tokens, itemic_vocab, load_tokenizer, save_expanded


def expanded_tokenizer(folder: Path, vocab: Vocab, *, into: Path) -> Path:
    """`folder` itself when its tokenizer has the itemic tokens, else `into` with an expanded copy.

    Raises ConfigError for a tokenizer that cannot be read or that has other itemic tokens than `vocab`.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder; correct model.base_model_dir")
    tokenizer = load_tokenizer(folder)
    itemic, is_expanded = itemic_vocab(
        tokenizer, layer_n=vocab.itemic_layer_n, size_per_layer=vocab.vocab_size_per_layer
    )
    if is_expanded:
        return folder
    into.mkdir(parents=True, exist_ok=True)
    for name in (*TOKENIZER_FILES, "config.json"):  # transformers chooses the tokenizer's class by the config
        if (folder / name).is_file():
            shutil.copyfile(folder / name, into / name)
    add_itemic_tokens(tokenizer, itemic)
    save_expanded(tokenizer, itemic, into)
    return into
