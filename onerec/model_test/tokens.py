"""Checks of the tokenizer: itemic tokens and their ids, special ids, and how it fits table and configuration.

Only text and ids are looked at; no tensor is read.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from onerec.data.text.tokenizer import DOCUMENT_END, TURN_END, TURN_START
from onerec.model.hf_folder import (
    CONFIG_NAME,
    EMBEDDING,
    GENERATION_CONFIG_NAME,
    HEAD,
    VOCAB_NAME,
    read_json,
)
from onerec.model.itemic_tokenizer import itemic_vocab
from onerec.model_test.check import Finding, Trial, verdict
from onerec.model_test.files import CONFIG, WEIGHT_FILES
from onerec.vocab import ItemicVocab, item_text

if TYPE_CHECKING:
    from onerec.model_test.subject import Subject

LOADS, TABLE, ITEMIC = "tokenizer loads", "table size", "itemic tokens"
TOKENIZER = "the tokenizer"


def check_loads(subject: Subject) -> Finding:
    """The tokenizer can be used, and knows the markers of turns and documents as one token each."""
    tokenizer = subject.renderer.tokenizer
    markers = (TURN_START, TURN_END, DOCUMENT_END)
    faults = [
        f"{marker} is encoded as {ids}" for marker in markers if len(ids := subject.ids_of(marker)) != 1
    ]
    return verdict(faults, f"{len(tokenizer):,} tokens, {type(tokenizer).__name__}")


def check_table(subject: Subject) -> Finding:
    """Every id has a row, and config.json, files and onerec_vocab.json agree about how many there are."""
    rows, tokens = subject.config.vocab_size, 1 + max(subject.renderer.tokenizer.get_vocab().values())
    faults = [
        f"{name} in {placed.file.name} has {placed.stored.shape[0]:,} rows, config.json says {rows:,}"
        for name in (EMBEDDING, HEAD)
        if (placed := subject.placed.get(name)) and placed.stored.shape[0] != rows
    ]
    if rows < tokens:
        faults.append(f"{rows:,} rows for {tokens:,} tokens: the last ones have none")
    told = (subject.told_vocab or {}).get("vocab_size", rows)
    if told != rows:
        faults.append(f"vocab_size of {VOCAB_NAME} is {told:,}, that of config.json {rows:,}")
    return verdict(faults, f"{rows:,} rows for {tokens:,} tokens, {rows - tokens:,} spare")


def check_itemic(subject: Subject) -> Finding:
    """Every itemic token is one token, with the id first + level * size + code; begin and end come last."""
    tokens, told = subject.itemic, subject.told_vocab
    if tokens is None:
        if told is None:
            return Finding("skipped", "no itemic tokens: the folder was never expanded")
        return Finding("failed", f"{VOCAB_NAME} is there, but the tokenizer has no itemic token")
    vocab, _ = itemic_vocab(
        subject.renderer.tokenizer.backend_tokenizer,
        layer_n=tokens.layer_n,
        size_per_layer=tokens.size_per_layer,
    )
    faults = [*_faults_of_told(told or {}, vocab), *_faults_of_encoding(subject, vocab)]
    text = (
        f"{vocab.num_tokens:,} tokens, {vocab.layer_n} x {vocab.size_per_layer:,} codes, "
        f"ids {vocab.first_id} to {vocab.last_id}"
    )
    if faults or told is not None:
        return verdict(faults, text)
    return Finding("note", f"{text}; there is no {VOCAB_NAME}, which training reads")


def check_round_trip(subject: Subject) -> Finding:
    """Items are encoded as their ids, alone and inside a text, and decoded as they were written."""
    vocab, tokenizer = subject.vocab, subject.renderer.tokenizer
    faults = []
    for codes in _some_items(vocab):
        item, ids = item_text(codes), vocab.ids_of_item(codes)
        sentence = f"watched {item}{item}, then"
        inside = [*subject.ids_of("watched "), *ids, *ids, *subject.ids_of(", then")]
        if subject.ids_of(item) != ids:
            faults.append(f"{item} is encoded as {subject.ids_of(item)}, not as {ids}")
        elif subject.ids_of(sentence) != inside:
            faults.append(f"{sentence!r} is encoded as {subject.ids_of(sentence)}, not as {inside}")
        faults += [
            f"{sentence!r} is decoded as {decoded!r} (skip_special_tokens={skips})"
            for skips in (False, True)
            if (decoded := tokenizer.decode(inside, skip_special_tokens=skips)) != sentence
        ]
    return verdict(faults, f"{len(_some_items(vocab))} items, alone and in a text")


def check_special_ids(subject: Subject) -> Finding:
    """Ids of end, padding and begin are tokens, and config, generation config and tokenizer agree on them."""
    told = _told_ids(subject)
    known = min(subject.config.vocab_size, 1 + max(subject.renderer.tokenizer.get_vocab().values()))
    faults = [
        f"{key} {number} of {place} is outside the {known:,} tokens"
        for key, places in told.items()
        for place, ids in places.items()
        for number in ids
        if not 0 <= number < known
    ]
    ends = told["eos_token_id"]
    stops = ends.get(GENERATION_CONFIG_NAME) or ends.get(CONFIG_NAME) or []
    if not stops:
        faults.append(
            "neither config.json nor generation_config.json has an eos_token_id: no answer would end"
        )
    faults += [
        f"eos_token_id {ids} of {place} does not end an answer, {stops} does"
        for place, ids in ends.items()
        if stops and not set(ids) <= set(stops)
    ]
    for key in ("pad_token_id", "bos_token_id"):
        if len({tuple(ids) for ids in told[key].values()}) > 1:
            faults.append(f"{key}: " + ", ".join(f"{ids[0]} in {place}" for place, ids in told[key].items()))
    backend = subject.renderer.tokenizer.backend_tokenizer
    text = f"ends at {', '.join(f'{backend.id_to_token(number)} ({number})' for number in stops)}"
    text += f", pads with {subject.renderer.pad_id}"
    if faults or backend.token_to_id(TURN_END) in stops:
        return verdict(faults, text)
    return Finding("note", f"{text}; {TURN_END}, which ends a turn of a chat, does not end an answer")


def _faults_of_told(told: dict[str, int], vocab: ItemicVocab) -> list[str]:
    wanted = {
        "itemic_layer_n": vocab.layer_n,
        "vocab_size_per_layer": vocab.size_per_layer,
        "first_id": vocab.first_id,
        "last_id": vocab.last_id,
    }
    return [
        f"{key} of {VOCAB_NAME} is {told.get(key)}, the tokenizer's is {number}"
        for key, number in wanted.items()
        if told and told.get(key) != number
    ]


def _faults_of_encoding(subject: Subject, vocab: ItemicVocab) -> list[str]:
    spellings = vocab.spellings()
    encodings = subject.renderer.tokenizer.backend_tokenizer.encode_batch(spellings, add_special_tokens=False)
    return [
        f"{spelling} is encoded as {encoding.ids}, not as [{number}]"
        for number, (spelling, encoding) in enumerate(
            zip(spellings, encodings, strict=True), start=vocab.first_id
        )
        if encoding.ids != [number]
    ]


def _some_items(vocab: ItemicVocab) -> list[tuple[int, ...]]:
    size, levels = vocab.size_per_layer, range(vocab.layer_n)
    items = [(0,) * vocab.layer_n, (size - 1,) * vocab.layer_n, tuple((7 * n + 1) % size for n in levels)]
    return list(dict.fromkeys(items))


def _told_ids(subject: Subject) -> dict[str, dict[str, list[int]]]:
    """Who tells which ids, by key and place; places that tell nothing are left out."""
    generation = subject.folder / GENERATION_CONFIG_NAME
    tokenizer = subject.renderer.tokenizer
    places: dict[str, Any] = {
        CONFIG_NAME: subject.settings,
        GENERATION_CONFIG_NAME: read_json(generation) if generation.exists() else {},
        TOKENIZER: {key: getattr(tokenizer, key) for key in ("eos_token_id", "pad_token_id", "bos_token_id")},
    }
    return {
        key: {place: ids for place, document in places.items() if (ids := _ids(document.get(key)))}
        for key in ("eos_token_id", "pad_token_id", "bos_token_id")
    }


def _ids(told: object) -> list[int]:
    listed = told if isinstance(told, list) else [told]
    return [number for number in listed if isinstance(number, int)]


_trial = partial(Trial, "tokenizer")
TRIALS = (
    _trial(LOADS, check_loads, needs=(CONFIG,)),
    _trial(TABLE, check_table, needs=(WEIGHT_FILES, CONFIG, LOADS)),
    _trial(ITEMIC, check_itemic, needs=(LOADS,)),
    _trial("items there and back", check_round_trip, needs=(ITEMIC,)),
    _trial("end, padding, begin", check_special_ids, needs=(CONFIG, LOADS)),
)
