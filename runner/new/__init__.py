"""A commented manifest for a model folder and data: looked at (look.py), then written (text.py); no torch."""
