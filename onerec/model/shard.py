"""Give a model that exists only as shapes its memory, sharded with FSDP2 layer by layer.

Embedding, final norm and head share the root's group: a tied weight may live in one group only. No prefetch
is asked for: FSDP2 gathers the next layer of the backward pass by itself, and in the forward pass the host,
which waits for nothing in a silent step, queues the next layer's gathering while this one computes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import (
    FSDPModule,
    MixedPrecisionPolicy,
    fully_shard,
    register_fsdp_forward_method,
)

from onerec.config.mesh import hosts_of, mesh_shape
from onerec.distributed import gather_json
from onerec.errors import ConfigError

if TYPE_CHECKING:
    from typing import Literal

    from torch import nn
    from torch.distributed.device_mesh import DeviceMesh

    from onerec.config import Compute


def build_mesh(
    device: torch.device,
    *,
    world_size: int,
    local_size: int,
    sharding: Literal["auto", "full", "hybrid"] = "auto",
) -> DeviceMesh:
    """The ranks of `shard`, and of `hosts` before it where each host keeps a copy (HSDP); all ranks call it.

    Raises ConfigError, on every rank, for hybrid on hosts with different numbers of ranks.
    """
    # this rank knows its own host only, and all ranks have to build the same mesh
    local_sizes = gather_json(local_size)
    assert len(local_sizes) == world_size
    hosts = (world_size,) if sharding == "full" else hosts_of(local_sizes)
    shape = mesh_shape(sharding, hosts=hosts)
    names = ("hosts", "shard") if len(shape) == 2 else ("shard",)
    return init_device_mesh(device.type, shape, mesh_dim_names=names)


def shard(
    root: nn.Module, lm: nn.Module, *, mesh: DeviceMesh, device: torch.device, compute: Compute
) -> FSDPModule:
    """Materialise and shard `lm` inside `root`: a group per decoder layer, one for all the rest.

    Memory never exceeds the shards and one whole layer. Weights are uninitialised afterwards. Embedding
    and head stay gathered from the forward pass to the end of the backward pass, which needs both.
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
            _compile(layer)
        fully_shard(layer, mesh=mesh, mp_policy=policy, reshard_after_forward=compute.reshard_after_forward)
    _materialise_rest(lm, device)
    sharded = fully_shard(root, mesh=mesh, mp_policy=policy, reshard_after_forward=False)
    assert isinstance(sharded, FSDPModule)
    if hasattr(root, "predict"):
        register_fsdp_forward_method(root, "predict")  # gathers what it needs, as `forward` does
    return sharded


def _compile(layer: nn.Module) -> None:
    """Compile what a layer computes, checkpointing included, and leave FSDP2's hooks outside.

    All layers share the compiled code, since nothing that differs between them is read; it is made at most
    twice, for the first pack and for packs of any number of documents.
    """
    layer.forward = torch.compile(layer.forward)


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
