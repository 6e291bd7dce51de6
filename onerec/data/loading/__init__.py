"""From a plan to the packs of one rank, step by step."""
