"""The state of training on disk: written whole or not at all, checked before it is believed."""
