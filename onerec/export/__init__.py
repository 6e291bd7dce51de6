"""From a checkpoint to a Hugging Face folder that proves itself, in the memory of some rows."""
