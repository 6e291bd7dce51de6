"""What the hosts of a cluster answered, and what that means for a run: pure.

`runner.preflight.ask` gets the answers; nothing here reaches a host.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, ValidationError

from runner.manifest.faults import printable
from runner.preflight.findings import Finding, error, warning
from runner.report import size

HOSTFILE, OUTPUT = "cluster.hostfile", "output_dir"
CLOCK_SECONDS = 2.0
SHM_BYTES_PER_RANK = 64 << 20
NO_FOLDER, NO_PYTHON, NO_SSH = 91, 92, 255
"""How the line that starts the probe ends where there is nothing to start, and how ssh itself fails."""
SAME_EVERYWHERE = "install the same environment on every host, in the same place"


class Answer(BaseModel):
    """What one host told about itself; `runner.preflight.probe` says what each part is."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    host: str
    boot_id: str
    python: str
    versions: Mapping[str, str | None]
    code: Mapping[str, str | None]
    missing: list[str]
    programs: Mapping[str, bool]
    shared: bool
    unwritable: str | None
    gpus: int
    interfaces: Mapping[str, bool]
    way: str | None
    unconnected: str | None
    shm_free_bytes: int | None
    clock: float


@dataclass(frozen=True)
class Reply:
    """How one host's probe ended."""

    answer: Answer | None
    code: int | None = 0
    """Exit code of ssh; None when it did not end in time."""
    words: str = ""
    """The last line that ssh or the host complained with."""
    received_at: float = 0.0


@dataclass(frozen=True)
class Wanted:
    """What every host has to have."""

    own: Answer
    """What this host answers to the same question."""
    work_dir: str
    python: str
    places: Mapping[str, str]
    """Where in the manifest each path is written."""
    ranks: int
    """Processes of a host."""
    folder: str
    """Where the token lies; empty where none could be written."""
    interface: str | None = None
    binds: bool = False
    """Whether ranks are bound to the CPUs beside their GPUs."""
    listener: str = ""
    """Where this host waits to be connected to."""
    reach: str = "ssh"
    """How a person reaches a host."""
    limit_seconds: float = 0.0


def parse_answer(output: str, *, mark: str) -> Answer | None:
    """The answer in what a host wrote; None for anything else, however it looks."""
    lines = [line[len(mark) :] for line in output.splitlines() if line.startswith(mark)]
    if len(lines) != 1:
        return None
    try:
        return Answer.model_validate_json(lines[0])
    except ValidationError:
        return None


def judge(name: str, reply: Reply, wanted: Wanted) -> tuple[Finding, ...]:
    """All that is the matter with one other host."""
    if reply.answer is None:
        return (_silence(name, reply, wanted),)
    answer = reply.answer
    return (
        *_of_software(name, answer, wanted),
        *_of_files(name, answer, wanted),
        *_of_network(name, answer, wanted),
        *of_resources(name, answer, wanted),
        *_of_clock(name, answer.clock - reply.received_at),
    )


def _silence(name: str, reply: Reply, wanted: Wanted) -> Finding:
    words = printable(reply.words) or f"exit code {reply.code}"
    if reply.code is None:
        told = f"{name} did not answer within {wanted.limit_seconds:.0f} s"
        return error(HOSTFILE, told, "start it, or take it out of the hostfile")
    if reply.code == NO_SSH:
        remedy = f"start it, take it out of the hostfile, or mend what `{wanted.reach} {name} true` tells"
        return error(HOSTFILE, f"{name} cannot be reached: {words}", remedy)
    if reply.code == NO_FOLDER:
        told = f"{name} has no folder {wanted.work_dir}, in which the runner is started here"
        return error(HOSTFILE, told, "start it in a folder that every host sees")
    if reply.code == NO_PYTHON:
        return error(HOSTFILE, f"{name} has no {wanted.python}", SAME_EVERYWHERE)
    return error(HOSTFILE, f"{name} could not be examined: {words}", SAME_EVERYWHERE)


def _of_software(name: str, answer: Answer, wanted: Wanted) -> Iterator[Finding]:
    own = wanted.own
    if answer.python != own.python:
        told = f"{name} has Python {answer.python}, this host {own.python}"
        yield error(HOSTFILE, told, SAME_EVERYWHERE)
    for package, version in own.versions.items():
        if answer.versions.get(package) != version:
            there = answer.versions.get(package) or "none"
            yield error(
                HOSTFILE, f"{name} has {package} {there}, this host {version or 'none'}", SAME_EVERYWHERE
            )
    for package, digest in own.code.items():
        if answer.code.get(package) != digest:
            what = "other code" if answer.code.get(package) else "no code"
            yield error(HOSTFILE, f"{name} has {what} of {package}", "bring the same code to every host")


def _of_files(name: str, answer: Answer, wanted: Wanted) -> Iterator[Finding]:
    shared = "keep it on a file system that every host sees, under the same path"
    for path in answer.missing:
        if path in wanted.places and path not in wanted.own.missing:
            yield error(wanted.places[path], f"{name} does not see {path}", shared)
    if not wanted.folder:
        return
    if not answer.shared:
        told = f"{name} does not see what is written to {wanted.folder} here"
        yield error(OUTPUT, told, "choose an output_dir on a file system that every host shares")
    elif answer.unwritable is not None:
        told = f"{name} cannot write to {wanted.folder}: {printable(answer.unwritable)}"
        yield error(OUTPUT, told, "make it writable there, for the user that ssh logs in")


def _of_network(name: str, answer: Answer, wanted: Wanted) -> Iterator[Finding]:
    yield from of_interface(name, answer, wanted)
    if wanted.interface is None and answer.way is None and wanted.own.way is not None:
        told = f"{name} finds no interface that leads to the other hosts"
        yield error("cluster.network_interface", told, "name it, or mend the routes and names there")
    if answer.unconnected is not None:
        told = f"{name} cannot connect to {wanted.listener} here: {printable(answer.unconnected)}"
        remedy = "open the ports from 1024 on between the hosts, or set cluster.network_interface"
        yield error(HOSTFILE, told, remedy)


def of_interface(name: str, answer: Answer, wanted: Wanted) -> Iterator[Finding]:
    """What is the matter with the interface that a person named."""
    place, chosen = "cluster.network_interface", wanted.interface
    if chosen is None or not answer.interfaces:
        return
    known = ", ".join(printable(found) for found in answer.interfaces if found != "lo") or "none"
    if chosen not in answer.interfaces:
        told = f"{name} has no interface {chosen} with an address"
        yield error(place, told, f"choose one that every host has (there: {known}), or remove the key")
    elif not answer.interfaces[chosen]:
        yield error(place, f"the interface {chosen} of {name} is down", f"ip link set {chosen} up, there")


def of_resources(name: str, answer: Answer, wanted: Wanted) -> Iterator[Finding]:
    """What is the matter with the GPUs and the shared memory of a host, this one or another."""
    if answer.gpus < wanted.ranks and (answer.gpus or wanted.own.gpus):
        told = f"{answer.gpus} GPUs of {name} for {wanted.ranks} processes"
        yield error("cluster.nproc_per_node", told, "lower it, or leave the host out")
    if wanted.binds and not answer.gpus:
        yield error("cluster.numa_binding", f"{name} has no GPU to bind a process to", "remove the key")
    for program in (program for program, is_there in answer.programs.items() if not is_there):
        told = f"{name} has no {program}, which torchrun binds with"
        yield error("cluster.numa_binding", told, f"install {program} on every host, or remove the key")
    free = answer.shm_free_bytes
    if free is not None and free < SHM_BYTES_PER_RANK * wanted.ranks:
        told = f"{name} has {size(free)} free in /dev/shm for {wanted.ranks} processes"
        yield warning("", told, "make it larger: with docker, --shm-size or --ipc=host")


def _of_clock(name: str, ahead: float) -> Iterator[Finding]:
    if abs(ahead) > CLOCK_SECONDS:
        told = (
            f"the clock of {name} is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this host's"
        )
        yield warning("", told, "start chrony or ntpd on every host: times in logs mislead")


def twins(answers: Mapping[str, Answer]) -> Iterator[Finding]:
    """Names of the hostfile that lead to one and the same host."""
    seen: dict[tuple[str, str], str] = {}
    for name, answer in answers.items():
        machine = (answer.boot_id, answer.host)
        if answer.boot_id and machine in seen:
            told = f"{seen[machine]} and {name} are the same host"
            yield warning(HOSTFILE, told, "list it once, with all its slots")
        seen.setdefault(machine, name)


def excuse(
    findings: Mapping[str, Sequence[Finding]], *, names: Sequence[str], fewest: int
) -> tuple[dict[str, tuple[Finding, ...]], frozenset[str]]:
    """The findings of an elastic run, and the hosts that it is started without.

    As long as `fewest` of the hosts `names` are well, what is wrong with another one is only a warning.
    """
    unfit = {name for name in names if any(found.level == "error" for found in findings.get(name, ()))}
    kept = {name: tuple(found) for name, found in findings.items()}
    if len([name for name in names if name not in unfit]) < fewest:
        return kept, frozenset()
    for name in unfit:
        kept[name] = tuple(_without(name, finding) for finding in findings[name])
    return kept, frozenset(unfit)


def _without(name: str, finding: Finding) -> Finding:
    if finding.level != "error":
        return finding
    return warning(finding.place, f"{finding.message}: starting without {name}", finding.remedy)
