"""How another host is reached over ssh: without a question, and never waiting without end."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runner.launch.values import Command
    from runner.manifest.tables import Cluster

OPTIONS = (
    "BatchMode=yes",  # a question would be waited on for ever
    "ConnectTimeout=10",
    "ServerAliveInterval=10",  # a host that is gone is noticed after half a minute
    "ServerAliveCountMax=3",
    "ControlPath=none",  # a shared connection would outlive the ssh that the remote end looks to
)


def ssh_options(cluster: Cluster) -> tuple[str, ...]:
    """Options of every ssh, a person's own configuration file first; no word has a blank in it."""
    own = () if cluster.ssh_config is None else ("-F", cluster.ssh_config)
    return (*own, *(word for option in OPTIONS for word in ("-o", option)))


def shown_ssh(cluster: Cluster) -> str:
    """How a person calls ssh to see the same."""
    return "ssh" if cluster.ssh_config is None else f"ssh -F {cluster.ssh_config}"


def over_ssh(host: str, remote: str, *, cluster: Cluster, reads_stdin: bool = False) -> tuple[str, ...]:
    """The arguments that run a line of sh on another host; the name was checked when it was read."""
    quiet = () if reads_stdin else ("-n",)
    return ("ssh", *quiet, *ssh_options(cluster), host, "--", remote)


def tethered(command: Command, *, python: str, work_dir: str) -> str:
    """A line of sh for another host: the command in that folder, killed when its ssh connection ends.

    Without a terminal sshd leaves what it started running, so it hangs on the sshd of the connection ($PPID).
    """
    exports = [f"{name}={value}" for name, value in sorted(command.env.items())]
    tether = f'{shlex.join(["env", *exports, python])} -m runner.tether "$PPID" --'
    return f"cd {shlex.quote(work_dir)} && exec {tether} {shlex.join(command.argv)}"
