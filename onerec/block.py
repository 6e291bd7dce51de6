"""Memory that is filled again and again, for data that passes in pieces.

Taking it anew for every piece costs as much as filling it, and leaves holes that add up to hundreds of MB.
"""

from __future__ import annotations

import torch


class Block:
    """Some bytes, as many as were ever asked for at once."""

    def __init__(self) -> None:
        self._bytes = torch.empty(0, dtype=torch.uint8)

    def of_size(self, size: int) -> torch.Tensor:
        """The first `size` bytes; what was in them is written over by whoever asks next."""
        if len(self._bytes) < size:
            self._bytes = torch.empty(size, dtype=torch.uint8)
        return self._bytes[:size]

    def copy_of(self, tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """A flat copy of a tensor's elements in a number format, which lasts as `of_size` tells."""
        copy = self.of_size(tensor.numel() * dtype.itemsize).view(dtype)
        return copy.copy_(tensor.reshape(-1))
