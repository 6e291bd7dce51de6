"""The rows of the GPU table by name, and the order in which they run: what shares a model stands together."""

from __future__ import annotations

import importlib

from tests.benchmarks.harness import Registry

REGISTRY = Registry()
row = REGISTRY.benchmark
FILES = ("head", "stage2", "loop", "state", "memory", "stage1")
ORDER = ("G4", "G1", "G7", "G6", "G5", "G8", "G2", "G10", "G3")
"""The small and safe one first, then what shares the models of G1, then what makes others."""


def load_rows() -> None:
    """Import every file of rows, which registers them."""
    for name in FILES:
        importlib.import_module(f"tests.benchmarks.gpu_rows.{name}")
