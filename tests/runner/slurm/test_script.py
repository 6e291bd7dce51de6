"""The script of a job, whole; and that nothing in a manifest can make it another one."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from runner.manifest import ManifestError, load
from runner.rundir import RunDir
from runner.slurm.script import job_options, job_script, submission_env
from tests.runner.golden import assert_golden
from tests.runner.programme import write_manifest
from tests.runner.sample import HERE

SLURM = """{
  partition = "gpu,big", account = "lab", qos = "high", time = "2-00:00:00", gpus_per_node = "a100:8",
  cpus_per_task = 12, mem = "900G", constraint = "a100&nvlink", reservation = "night", exclusive = true,
  options = ["--exclude=node[7-9]", "--mail-type=END"],
}""".replace("\n", " ").replace(", }", " }")
JOB = ("cluster.launcher=slurm", "cluster.nnodes=2", f"cluster.slurm={SLURM}")


@pytest.mark.parametrize(
    ("name", "run", "settings"),
    [
        ("sbatch", "/runs/small", JOB),
        ("sbatch-plain", "/my runs/it's $(here)\nid/small", ("cluster.launcher=slurm",)),
    ],
)
def test_the_whole_script(tmp_path: Path, name: str, run: str, settings: tuple[str, ...]) -> None:
    cluster = load(write_manifest(tmp_path), settings).manifest.cluster
    tools = replace(HERE, work_dir="/my work", passed_on={"PYTHONPATH": "/a b:$HOME"})
    script = job_script(cluster, run=RunDir(Path(run)), tools=tools)
    assert_golden(f"{name}.sh", script)
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


HOSTILE = [
    "gpu; touch pwned",
    "gpu\ntouch pwned",
    "gpu\n#SBATCH --uid=0",
    "$(touch pwned)",
    "`x`",
    "-x",
    "a b",
    "",
]


@pytest.mark.parametrize("key", ["partition", "account", "qos", "mem", "constraint", "reservation", "time"])
@pytest.mark.parametrize("value", HOSTILE)
def test_a_hostile_value_reaches_no_script(tmp_path: Path, key: str, value: str) -> None:
    told = value.replace("\n", "\\n")
    with pytest.raises(ManifestError, match=rf"cluster\.slurm\.{key}"):
        load(write_manifest(tmp_path), ("cluster.launcher=slurm", f'cluster.slurm.{key}="{told}"'))


@pytest.mark.parametrize(
    "option",
    ["--wrap=id", "--comment=$(id)", "--comment=a;id", "--comment=a\nid", "-p x", "--array=1-9", "x"],
)
def test_a_hostile_option_reaches_no_script(tmp_path: Path, option: str) -> None:
    told = option.replace("\n", "\\n")
    with pytest.raises(ManifestError, match=r"cluster\.slurm\.options\[0\]"):
        load(write_manifest(tmp_path), ("cluster.launcher=slurm", f'cluster.slurm.options=["{told}"]'))


def test_no_variable_of_the_caller_goes_before_what_the_script_says(tmp_path: Path) -> None:
    cluster = load(write_manifest(tmp_path), JOB).manifest.cluster
    options = job_options(cluster, run=RunDir(Path("/runs/small")))
    ours = ["PARTITION", "TIMELIMIT", "MEM_PER_NODE", "SIGNAL", "OUTPUT", "NO_REQUEUE", "ARRAY_INX", "EXPORT"]
    kept = {"SBATCH_GRES": "x", "SLURM_CONF": "y", "HOME": "z"}
    assert submission_env({**kept, **{f"SBATCH_{name}": "1" for name in ours}}, options) == kept
