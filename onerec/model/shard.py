"""Give a model that exists only as shapes its memory, sharded with FSDP2 layer by layer.

Embedding, final norm and head share the root's group: a tied weight may live in one group only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

from onerec.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn
    from torch.distributed.device_mesh import DeviceMesh

    from onerec.config import Compute


def build_mesh(device: torch.device, *, world_size: int, local_size: int) -> DeviceMesh:
    """One dimension on one host; several hosts shard within a host and replicate between hosts (HSDP)."""
    if local_size < world_size and local_size > 1 and world_size % local_size == 0:
        return init_device_mesh(
            device.type, (world_size // local_size, local_size), mesh_dim_names=("hosts", "shard")
        )
    return init_device_mesh(device.type, (world_size,), mesh_dim_names=("shard",))


def shard(
    root: nn.Module, lm: nn.Module, *, mesh: DeviceMesh, device: torch.device, compute: Compute
) -> FSDPModule:
    """Materialise and shard `lm` inside `root`: a group per decoder layer, one for all the rest.

    Memory never exceeds the shards and one whole layer. Weights are uninitialised afterwards.
    """
    dtype = compute_dtype(compute, device)
    policy = MixedPrecisionPolicy(
        param_dtype=dtype,
        reduce_dtype=torch.float32 if compute.use_fp32_reduce else dtype,
        cast_forward_inputs=False,
    )
    should_compile = compute.compile == "on" or (compute.compile == "auto" and device.type == "cuda")
    for layer in lm.get_submodule("model.layers").children():
        layer.to_empty(device=device)
        if should_compile:
            layer.compile()
        fully_shard(layer, mesh=mesh, mp_policy=policy, reshard_after_forward=compute.reshard_after_forward)
    _materialise_rest(lm, device)
    sharded = fully_shard(root, mesh=mesh, mp_policy=policy, reshard_after_forward=False)
    assert isinstance(sharded, FSDPModule)
    return sharded


def compute_dtype(compute: Compute, device: torch.device) -> torch.dtype:
    """Number format of forward and backward; raises ConfigError for a GPU without bf16."""
    if compute.compute_dtype == "fp32" or (compute.compute_dtype == "auto" and device.type == "cpu"):
        return torch.float32
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise ConfigError('this GPU has no bf16; set compute_dtype = "fp32"')
    return torch.bfloat16


def _materialise_rest(lm: nn.Module, device: torch.device) -> None:
    """Give memory to embedding, norm and head; parameters that are one object stay one object."""
    made: dict[int, torch.nn.Parameter] = {}
    for module in lm.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter.is_meta:
                if id(parameter) not in made:
                    empty = torch.empty_like(parameter, device=device)
                    made[id(parameter)] = torch.nn.Parameter(empty, requires_grad=parameter.requires_grad)
                setattr(module, name, made[id(parameter)])
