"""Semantic ids: vectors of items, residual k-means over them, one id per item, and ids for new items."""
