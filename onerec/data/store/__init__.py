"""Prepared datasets: mapped token files and index, and several of them as one pool."""
