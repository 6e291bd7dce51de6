"""What every rank finds in its environment, and what of the caller's must not reach it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.env_file import variables_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from runner.launch.values import Attempt, Toolchain
    from runner.manifest.tables import Cluster
    from runner.rundir import StepDir

SCRUBBED_PREFIXES = (
    "PET_",
    "TORCHELASTIC_",
    "OMPI_COMM_WORLD_",
    "PMIX_RANK",
    "PMIX_NAMESPACE",
    "PMIX_SERVER_",
)
"""Variables of a launcher around the runner, which those below it would take for their own."""
SCRUBBED = frozenset(
    {
        *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT"),
        "SLURM_STEP_ID",  # a shell in a job of Slurm is a task of a step, which is none of ours
    }
)


def is_scrubbed(name: str) -> bool:
    """Whether a variable of the caller must not reach the steps."""
    return name in SCRUBBED or name.startswith(SCRUBBED_PREFIXES)


def program_env(env: Mapping[str, str], cluster: Cluster) -> dict[str, str]:
    """What a program of the trainer finds that is run here and alone; raises EnvFileError."""
    return {**env, **cluster.env, **variables_of(cluster.env_file)}


def rank_env(
    home: StepDir,
    *,
    run: Path,
    cluster: Cluster,
    tools: Toolchain,
    attempt: Attempt,
    ranks: int,
    peers: Sequence[str],
) -> dict[str, str]:
    """Variables of each of a host's `ranks` processes, besides the caller's; what the manifest says wins.

    `peers`: addresses of the first two of several hosts, so that each has one that is not itself.
    """
    return {
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",  # else a file of the working folder can shadow a module of Python
        "OMP_NUM_THREADS": str(cluster.slurm.cpus_per_task or max(1, tools.cores // ranks)),
        **tools.passed_on,
        "RUNNER_RUN": str(run),
        "RUNNER_ATTEMPT": str(attempt.number),
        "RUNNER_NONCE": attempt.nonce,
        "RUNNER_RENDEZVOUS": str(home.rendezvous(attempt.number)),
        **({"RUNNER_ENV_FILE": cluster.env_file} if cluster.env_file else {}),
        **_network_env(cluster, peers),
        **cluster.env,
    }


def _network_env(cluster: Cluster, peers: Sequence[str]) -> dict[str, str]:
    """The interface that a person named; else the hosts whose way each rank looks for (onerec.network)."""
    interface = cluster.network_interface
    if interface is not None:  # "=": exactly this name
        return {"NCCL_SOCKET_IFNAME": f"={interface}", "GLOO_SOCKET_IFNAME": interface}
    return {"RUNNER_PEERS": ",".join(peers)} if peers else {}
