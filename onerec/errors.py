"""Errors that name a person's mistake or a fault of the world, and the exit code each stands for.

Codes are those of the runner's documentation; whoever raises one of these has already told place and remedy.
"""

from __future__ import annotations


class OneRecError(Exception):
    """A fault told in one message, without a traceback."""

    exit_code = 1


class ConfigError(OneRecError):
    """What a person wrote does not fit: a key, a path, a size."""

    exit_code = 2


class DriftError(OneRecError):
    """Run and manifest, data or code no longer belong together."""

    exit_code = 4


class DataError(OneRecError):
    """Data that cannot be read, or too many rejected rows."""

    exit_code = 6


class DivergedError(OneRecError):
    """Training produced numbers that are not finite."""

    exit_code = 7


class StorageError(OneRecError):
    """A disk that is full, read-only or failing, or a checkpoint that is damaged."""

    exit_code = 9


class StoppedError(OneRecError):
    """Stopped on request, with a checkpoint; run it again to go on."""

    exit_code = 75
