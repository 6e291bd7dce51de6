"""Which samples an epoch reads, in which packs and in which order; pure functions."""
