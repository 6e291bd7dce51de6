"""The rules of [cluster.slurm]: no value is of a form that sbatch or a shell could misunderstand."""

from __future__ import annotations

import re
from collections.abc import Iterator

from runner.manifest.faults import Problem, shown
from runner.manifest.tables import Cluster, Slurm
from runner.slurm.limits import MOST_WARNING_SECONDS, gpu_count, seconds_of, warning_seconds

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_NAMES = re.compile(rf"{_NAME.pattern}(,{_NAME.pattern})*")
_MEMORY = re.compile(r"[0-9]+[KMGT]?")
_CONSTRAINT = re.compile(r"[A-Za-z0-9_(\[][A-Za-z0-9_.:,&|*()\[\]-]*")
_OPTION = re.compile(r"--([a-z][a-z0-9-]*)(=[A-Za-z0-9_.,:@%/+*()\[\]-]+)?")
_FORMS = (
    ("partition", _NAMES, "a name of a partition", "write one that `sinfo` shows"),
    ("account", _NAME, "a name of an account", "use letters, digits and '._-'"),
    ("qos", _NAME, "a name of a quality of service", "use letters, digits and '._-'"),
    ("mem", _MEMORY, "an amount of memory", 'write such as "900G", or "0" for all of a host'),
    ("constraint", _CONSTRAINT, "a constraint", "write features with & and |, and no space"),
    ("reservation", _NAME, "a name of a reservation", "write one that `scontrol show reservation` shows"),
)
_OWN_KEYS = {
    "nodes": "cluster.nnodes",
    "ntasks-per-node": "cluster.nproc_per_node",
    "signal": "cluster.stop_grace_seconds",
    **{key.replace("_", "-"): f"cluster.slurm.{key}" for key in Slurm.model_fields if key != "options"},
}
"""Options that have a key of their own."""
_RUNNERS = frozenset(
    {
        *("array", "chdir", "error", "export", "export-file", "help", "input", "job-name", "no-requeue"),
        *("ntasks", "open-mode", "output", "parsable", "quiet", "requeue", "test-only", "usage", "version"),
        *("wait", "wrap"),
    }
)
"""Options that would take the job out of the runner's hands."""


def check_slurm(cluster: Cluster) -> Iterator[Problem]:
    """Every value of [cluster.slurm] that cannot be handed to sbatch, and what does not fit together."""
    slurm = cluster.slurm
    if cluster.launcher != "slurm":
        if slurm != Slurm():
            yield Problem(
                ("cluster", "slurm"),
                f'launcher "{cluster.launcher}" submits no job',
                'write launcher = "slurm", or remove the table',
            )
        return
    if cluster.hostfile is not None:
        yield Problem(("cluster", "hostfile"), "Slurm itself chooses the hosts", "remove it")
    for key, form, what, remedy in _FORMS:
        value = getattr(slurm, key)
        if value is not None and not form.fullmatch(value):
            yield Problem(("cluster", "slurm", key), f"{shown(value)} is not {what}", remedy)
    if slurm.gpus_per_node is not None and gpu_count(slurm.gpus_per_node) is None:
        yield Problem(
            ("cluster", "slurm", "gpus_per_node"),
            f"{shown(slurm.gpus_per_node)} is no number of GPUs",
            'write 8, or a type and a number such as "a100:8"',
        )
    yield from _check_times(cluster)
    for index, option in enumerate(slurm.options):
        yield from _check_option(("cluster", "slurm", "options", index), option)


def _check_times(cluster: Cluster) -> Iterator[Problem]:
    warning = warning_seconds(cluster.stop_grace_seconds)
    if warning > MOST_WARNING_SECONDS:
        yield Problem(
            ("cluster", "stop_grace_seconds"),
            f"{cluster.stop_grace_seconds:g} is longer than Slurm can tell a job of its end before it comes",
            "lower it to 18 hours at most: 64800",
        )
        return
    text = cluster.slurm.time
    seconds = None if text is None else seconds_of(text)
    if text is not None and seconds is None:
        yield Problem(
            ("cluster", "slurm", "time"),
            f"{shown(text)} is not a time limit",
            'write "2-00:00:00" for two days, "12:00:00" for hours, or minutes',
        )
    # told up to a minute early, and a job that never trains would be queued for ever
    if seconds is not None and seconds < warning + 120:
        yield Problem(
            ("cluster", "slurm", "time"),
            f"{shown(text)} leaves no time to train: the job is told to stop {warning} to {warning + 60} "
            "seconds before its end",
            "raise it, or lower cluster.stop_grace_seconds",
        )


def _check_option(path: tuple[str | int, ...], option: str) -> Iterator[Problem]:
    found = _OPTION.fullmatch(option)
    if found is None:
        yield Problem(
            path, f"{shown(option)} is not an option of sbatch", 'write it long, such as "--exclude=node7"'
        )
    elif found[1] in _OWN_KEYS:
        yield Problem(path, f"--{found[1]} has a key of its own", f"write {_OWN_KEYS[found[1]]}")
    elif found[1] in _RUNNERS:
        yield Problem(path, f"--{found[1]} is for the runner to say", "remove it")
