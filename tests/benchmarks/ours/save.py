"""Train for some steps and save after some of them: as ours does, with synchronous DCP, or not at all."""

import json
import sys
import time
from pathlib import Path

STEPS, SAVED_AFTER = 24, (6, 12, 18)
WIDTH, LAYERS = 2048, 30


def main():
    given = json.loads(sys.argv[1])
    import torch

    from onerec.distributed import World, process_group

    torch.manual_seed(1)
    model = torch.nn.Sequential(*(torch.nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(LAYERS)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    inputs = torch.randn(64, WIDTH)
    world = World(0, 1, 0, 1, "single")
    with process_group(world, device=torch.device("cpu"), env={}):
        print(json.dumps(train(model, optimizer, inputs, world=world, **given)))


def train(model, optimizer, inputs, *, world, kind, folder):
    import torch

    from onerec.checkpoint.retention import Retention
    from onerec.checkpoint.saver import Saver

    def step():
        model(inputs).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    step()
    saver = Saver(Path(folder), world=world, attempt="1", retention=Retention(1))
    if kind == "ours":
        saver.reserve(tensors_of(model, optimizer))
    stalls, began = [], time.perf_counter()
    for number in range(1, STEPS + 1):
        step()
        if number in SAVED_AFTER:
            asked = time.perf_counter()
            save(kind, number, saver, tensors_of(model, optimizer), Path(folder))
            stalls.append(time.perf_counter() - asked)
    if kind == "ours":
        saver.finish()
    seconds = time.perf_counter() - began
    with torch.no_grad():
        total = float(sum(one.double().sum() for one in model.parameters()))
    size = sum(one.nbytes for named in tensors_of(model, optimizer).values() for one in named.values())
    return {"stalls": stalls, "seconds": seconds, "sum": total, "bytes": size}


def tensors_of(model, optimizer):
    weights = {name: one.detach() for name, one in model.named_parameters()}
    moments = {
        f"{name}.{moment}": optimizer.state[one][moment]
        for name, one in model.named_parameters()
        for moment in ("exp_avg", "exp_avg_sq")
    }
    return {"model": weights, "optimizer": moments}


def save(kind, number, saver, tensors, folder):
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.filesystem import FileSystemWriter

    from onerec.checkpoint.state import TrainerState

    if kind == "ours":
        saver.start(TrainerState(number, 1.0, {}, 1, {}, {}), tensors)
    elif kind != "none":
        flat = {f"{part}.{name}": one for part, named in tensors.items() for name, one in named.items()}
        dcp.save(flat, storage_writer=FileSystemWriter(folder / f"dcp-{number}", sync_files=True))


if __name__ == "__main__":
    main()
