"""Which samples an epoch reads, in which packs and in which order: decided by data, seed and epoch alone."""
