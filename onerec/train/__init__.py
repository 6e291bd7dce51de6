"""Training: the loop, one step of it, the loss, the optimizer, checkpoints and metrics."""
