"""Benchmarks against the tools that people would use instead; `python -m tests.benchmarks` runs them."""
