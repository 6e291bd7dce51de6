"""Bytes of the tensors that are alive, counted operator by operator; weights made before are not."""

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


class LiveMemory(TorchDispatchMode):
    """Inside, `live` is what operators made and nobody has freed, whether autograd or Python holds it."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.live = 0
        self._known = weakref.WeakKeyDictionary()
        for tensor in (*module.parameters(), *module.buffers()):
            self._known[tensor.untyped_storage()] = 0

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        result = operator(*args, **(kwargs or {}))
        for tensor in tree_iter(result):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage())
        return result

    def _count(self, storage):
        if storage not in self._known:
            size = storage.nbytes()
            self._known[storage] = size
            self.live += size
            weakref.finalize(storage, self._forget, size)

    def _forget(self, size):
        self.live -= size
