"""What one step computes on several gloo ranks: a program that forks them, and the way to start it.

Each case is a training stage of which one step is taken. Rank 0 writes the loss, the gradient that the
update was made of and the weights after it, all of them whole. Forks share one import of torch, which is
most of what starting a rank costs.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch.distributed.tensor import DTensor

from onerec.config import TrainConfig
from onerec.data.loading.batch import FILLER
from onerec.distributed import environment, process_group, read_world
from onerec.train.session import open_session
from onerec.train.step import Stepper, Wishes, count
from tests import tiny


@dataclass(frozen=True)
class Case:
    """One step to take."""

    name: str
    config: dict
    trained: tuple[int, ...] | None = None
    """Trained tokens that are kept of the packs, by their number; None keeps all."""


@dataclass(frozen=True)
class Taken:
    """What a step came to, over all ranks."""

    loss: float
    grad_norm: float
    trained_tokens: int
    micro_steps: int
    """Packs of each rank, fillers included."""
    gradients: dict[str, torch.Tensor]
    weights: dict[str, torch.Tensor]
    """Of what trains, after the update."""
    changed_by_a_bad_step: list[str]
    """What a step changes that follows and is told not to be finite."""


def take_steps(cases: dict[int, list[Case]], folder: Path) -> dict[int, dict[str, Taken]]:
    """Take the steps of the cases of each number of gloo ranks; what they came to, by ranks and name."""
    told = {ranks: [vars(case) for case in some] for ranks, some in cases.items()}
    (folder / "cases.json").write_text(json.dumps(told))
    done = subprocess.run(
        [sys.executable, "-m", "tests.train.ranks", str(folder / "cases.json")],
        capture_output=True,
        text=True,
        check=False,
        env=tiny.environment() | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        timeout=240,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return {
        ranks: {case.name: _read(folder / str(ranks) / case.name) for case in some}
        for ranks, some in cases.items()
    }


def _read(folder: Path) -> Taken:
    told = json.loads((folder / "told.json").read_text())
    return Taken(
        **told,
        gradients=load_file(folder / "gradients.safetensors"),
        weights=load_file(folder / "weights.safetensors"),
    )


def main(path: Path) -> None:
    """Take every step of a file of cases: for each number of ranks, as many forks of this process."""
    for ranks, cases in json.loads(path.read_text()).items():
        folder = path.parent / ranks
        folder.mkdir()
        fork = multiprocessing.get_context("fork")
        started = [
            fork.Process(target=run_rank, args=(rank, int(ranks), cases, folder))
            for rank in range(int(ranks))
        ]
        for process in started:
            process.start()
        wait_for_all(started)


def wait_for_all(started) -> None:
    """Wait; when one fails, end the others, which would wait for it."""
    running = {process.sentinel: process for process in started}
    while running:
        for sentinel in wait(running):
            process = running.pop(sentinel)
            process.join()
            if process.exitcode != 0:
                for other in running.values():
                    other.kill()
                sys.exit(1)


def run_rank(rank: int, ranks: int, cases: list[dict], folder: Path) -> None:
    """One rank's life, as mpirun would start it."""
    told = {"RANK": rank, "SIZE": ranks, "LOCAL_RANK": rank, "LOCAL_SIZE": ranks}
    os.environ.update({f"OMPI_COMM_WORLD_{name}": str(value) for name, value in told.items()})
    os.environ["RUNNER_RENDEZVOUS"] = str(folder / "rendezvous.json")
    world, device = read_world(environment()), torch.device("cpu")
    with process_group(world, device=device, env=environment()):
        for one in cases:
            taken = take_step(Case(**one), output_dir=folder / one["name"], world=world, device=device)
            if world.is_main:
                write(taken, folder / one["name"])


def take_step(case: Case, *, output_dir: Path, world, device) -> Taken:
    """One step of a stage, through everything that training goes through."""
    config = TrainConfig.model_validate_json(json.dumps(case.config | {"output_dir": str(output_dir)}))
    session = open_session(config, world=world, device=device)
    gradients = {}

    def keep_gradients(*_):
        gradients.update({name: whole(parameter.grad) for name, parameter in trained(session.model.lm)})

    hook = session.optimizer.register_step_pre_hook(keep_gradients)
    packs = next(iter(session.loader)).packs
    if case.trained is not None:
        packs = [pack if pack.pack == FILLER else thinned(pack, case.trained[pack.pack]) for pack in packs]
    totals = count(packs, wishes=Wishes())
    stepper = Stepper(
        session.model,
        session.optimizer,
        max_grad_norm=config.optim.max_grad_norm,
        num_sources=len(session.loader.sources),
        world_size=world.size,
        device=device,
    )
    figures = stepper.take(packs, totals=totals).figures()
    hook.remove()
    return Taken(
        loss=figures.loss,
        grad_norm=figures.grad_norm,
        trained_tokens=totals.trained_tokens,
        micro_steps=len(packs),
        gradients=gradients,
        weights={name: whole(parameter) for name, parameter in trained(session.model.lm)},
        changed_by_a_bad_step=changed_by_a_bad_step(session),
    )


def write(taken: Taken, folder: Path) -> None:
    """What `_read` reads."""
    told = {name: value for name, value in vars(taken).items() if name not in {"gradients", "weights"}}
    (folder / "told.json").write_text(json.dumps(told))
    save_file(taken.gradients, folder / "gradients.safetensors")
    save_file(taken.weights, folder / "weights.safetensors")


def thinned(pack, keep):
    """A pack of which only the first `keep` trained tokens are trained."""
    cells_N = pack.cells_N[:keep]
    assert len(cells_N) == keep, f"the pack trains {len(cells_N)} tokens"
    return replace(
        pack,
        trained_N=pack.trained_N[:keep],
        trained_labels_N=pack.trained_labels_N[:keep],
        cells_N=cells_N,
        trained_S2=torch.bincount(cells_N, minlength=pack.trained_S2.numel()).view(-1, 2),
        trained_tokens=keep,
    )


def changed_by_a_bad_step(session) -> list[str]:
    """Names of weights, moments and counts that an update changes although `found_inf` forbids it."""
    state = session.optimizer.state
    before = snapshot(session)
    for _, parameter in trained(session.model.lm):
        parameter.grad = torch.full_like(parameter, float("nan"))
    session.optimizer.found_inf = torch.ones(())
    session.optimizer.step()
    after = snapshot(session)
    assert len(before) == 4 * len(state) > 0
    return sorted(name for name, tensor in before.items() if not torch.equal(tensor, after[name]))


def snapshot(session) -> dict[str, torch.Tensor]:
    """Copies of this rank's weights, moments and counts."""
    state = session.optimizer.state
    found = {}
    for name, parameter in trained(session.model.lm):
        found[name] = parameter.to_local().clone()
        for key, tensor in state[parameter].items():
            found[f"{name} {key}"] = (tensor.to_local() if isinstance(tensor, DTensor) else tensor).clone()
    return found


def trained(lm):
    """Names and parameters that train."""
    return [(name, parameter) for name, parameter in lm.named_parameters() if parameter.requires_grad]


def whole(tensor) -> torch.Tensor:
    """A copy of a sharded tensor, put together from all ranks."""
    return tensor.detach().full_tensor().clone()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
