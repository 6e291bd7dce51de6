"""Prepared datasets: token files, their index, and several of them as one pool."""
