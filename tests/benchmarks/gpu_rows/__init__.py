"""Rows G1 to G10 of the goals, one file a row group; `tests/benchmarks/gpu.py` runs them."""
