"""What each training stage of a manifest needs, with all that is looked up for it: sizes, hosts, GPUs."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from onerec.errors import ConfigError
from runner.gpus import smallest, visible_gpus
from runner.hosts import Host, HostfileError, read_hostfile
from runner.memory import StageMemory, ranks_by_host, stage_memory
from runner.sizes import sizes_of, trained_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from onerec.config.memory import ModelSizes
    from runner.gpus import Gpu
    from runner.manifest.tables import Manifest


def memories_of(manifest: Manifest, *, env: Mapping[str, str]) -> dict[str, StageMemory]:
    """What each training stage needs on the GPUs of this host, which all hosts are taken to have.

    Stages are missing where sizes, hosts or sharding are not told or do not fit: others tell that.
    """
    sizes, hosts = sizes_of(manifest), _hosts(manifest)
    if sizes is None or hosts is None:
        return {}
    return stage_memories(
        manifest, sizes=sizes, hosts=hosts, gpus=visible_gpus({**env, **manifest.cluster.env})
    )


def stage_memories(
    manifest: Manifest, *, sizes: ModelSizes, hosts: Sequence[Host], gpus: Sequence[Gpu]
) -> dict[str, StageMemory]:
    """What each training stage needs on hosts with these GPUs each; stages are missing as above. Pure."""
    cluster, found = manifest.cluster, {}
    for name, stage in manifest.stages.items():
        if stage.kind == "train":
            with suppress(ConfigError):  # a sharding that the hosts do not allow: the trainer tells it
                ranks = ranks_by_host(cluster, hosts=hosts, gpus=len(gpus))
                found[name] = stage_memory(
                    sizes,
                    compute=stage,
                    trained_rows=trained_rows(manifest, stage, sizes),
                    max_length=manifest.datasets[stage.datasets[0]].max_length,
                    hosts=ranks,
                    gpu=smallest(gpus, ranks=max(ranks)),
                    on_gpu=bool(gpus) or cluster.launcher != "local",
                )
    return found


def _hosts(manifest: Manifest) -> tuple[Host, ...] | None:
    """The hosts of the hostfile, none without one; None for a hostfile that cannot be read."""
    if manifest.cluster.hostfile is None:
        return ()
    try:
        return read_hostfile(Path(manifest.cluster.hostfile))
    except HostfileError:  # told by those who look at the hostfile
        return None
