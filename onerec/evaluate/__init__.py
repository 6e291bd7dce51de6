"""Evaluation: how well a model predicts what it was never trained on, beside honest simple models."""
