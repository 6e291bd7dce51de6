"""The one entrance to all sources: settings to Interactions, and what is to be told about them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from onerec.build.interactions import Interactions
from onerec.build.sources import amazon, fetch, tables
from onerec.build.sources.gather import Raw, gather
from onerec.build.sources.movielens import KNOWN_SETS
from onerec.build.sources.oddities import Oddities
from onerec.config.build import BuildData


@dataclass(frozen=True)
class Found:
    """Interactions, where they were found, and what their owner asks for."""

    interactions: Interactions
    origin: str
    licence: str | None
    domain: str
    """What an item is, in words: film, product or item."""


def find(data: BuildData, *, cache_dir: Path) -> Found:
    """The interactions that the settings name, odd ones treated by the policy.

    Raises ConfigError for places that do not hold what they should, DataError for a source that cannot be
    found, read, or is against the policy.
    """
    oddities = Oddities(data.source or f"{data.interactions} and {data.items}")
    raw, origin, licence, domain = _raw(data, cache_dir=cache_dir, oddities=oddities)
    return Found(gather(raw, data=data, oddities=oddities), origin, licence, domain)


def _raw(data: BuildData, *, cache_dir: Path, oddities: Oddities) -> tuple[Raw, str, str | None, str]:
    if data.source in KNOWN_SETS:
        known = KNOWN_SETS[data.source]
        found = fetch.find(known, data.path, cache_dir=cache_dir, download=data.download)
        return found.raw, found.origin, known.licence, "film"
    if data.source is not None:
        return amazon.read(data.path, oddities), str(data.path), amazon.LICENCE, "product"
    return tables.read(data, oddities), f"{data.interactions} and {data.items}", None, "item"
