"""The stand-in goes before the real package, whose other modules the rank shim uses."""

from pathlib import Path

__path__ = [*__path__, str(Path(__file__).parents[4] / "onerec")]
