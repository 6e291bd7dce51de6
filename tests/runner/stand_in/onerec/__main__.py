"""A stand-in for the trainer: writes what a step would write, and fails where STAND_IN tells it to.

STAND_IN is JSON: by stage (or kind) {"code", "signal", "exception", "collateral", "hang", "never_ready",
"rank", "attempts", "wait", "no_result", "delay"}. `collateral` is the error of the other ranks a moment
later; with `hang` one rank sleeps for ever and the others wait for it.
Its checkpoints and records are of the trainer's form, as far as `runner doctor` compares them.
"""

import faulthandler
import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

from onerec.pulse import Heart

if "RUNNER_STACKS" in os.environ:
    stacks = Path(os.environ["RUNNER_STACKS"]).open("a")  # noqa: SIM115 - as long as the process lives
    faulthandler.register(signal.SIGQUIT, file=stacks)
heart = Heart(Path(os.environ["RUNNER_BEAT"]) if "RUNNER_BEAT" in os.environ else None)
config = json.loads(Path(sys.argv[1]).read_text())
rank = int(os.environ.get("RANK", os.environ.get("OMPI_COMM_WORLD_RANK", "0")))
attempt = int(os.environ["RUNNER_ATTEMPT"])
home = Path(config["output_dir"])
home.mkdir(parents=True, exist_ok=True)
orders = json.loads(os.environ.get("STAND_IN", "{}")).get(config.get("stage", config["kind"]), {})


def write(name, document):
    path = home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    text = document if isinstance(document, str) else json.dumps(document)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text)
    temporary.replace(path)
    return {"sha256": hashlib.sha256(text.encode()).hexdigest(), "bytes": len(text)}


def checkpoint(step):
    """One pack of one sample with ten tokens a step; the record comes last."""
    if step <= before["step"]:
        return
    mine = {
        "attempt": str(attempt),
        "world_size": int(os.environ.get("WORLD_SIZE", os.environ.get("OMPI_COMM_WORLD_SIZE", "1"))),
        "num_workers": 0,
        "first_step": before["step"],
        "last_step": step,
        "first_pack": before["step"],
        "end_pack": step,
    }
    state = {
        "format": 2,
        "step": step,
        "data": {"epoch": 0, "next_pack": step},
        "packs_per_step": 1,
        "counts": {"rows": [10 * step, step]},
        "stretches": [*before["stretches"], mine],
    }
    facts = {f"global_step{step}/trainer.json": write(f"step{step}/global_step{step}/trainer.json", state)}
    record = {key: {name: fact[key] for name, fact in facts.items()} for key in ("sha256", "bytes")}
    write(f"step{step}/COMMIT.json", {"step": step, **record})
    write("metrics.jsonl", json.dumps({"step": step, "loss": 1 / step, "tokens_per_second": 10.0}) + "\n")
    write("latest", f"step{step}")


def newest():
    """State of the newest checkpoint of an earlier attempt."""
    states = [json.loads(path.read_text()) for path in home.glob("step*/global_step*/trainer.json")]
    earlier = [state for state in states if state["stretches"][-1]["attempt"] != str(attempt)]
    return max(earlier, key=lambda state: state["step"], default={"step": 0, "stretches": []})


def fail_as_told():
    mark = home / f"failed-{attempt}"
    if attempt not in orders.get("attempts", [attempt]) or rank != orders.get("rank", 0):
        if "collateral" in orders and attempt in orders.get("attempts", [attempt]):
            while not mark.exists():
                time.sleep(0.01)
            time.sleep(0.1)
            raise RuntimeError(orders["collateral"])
        time.sleep(orders.get("delay", 0))
        return
    if orders.keys() & {"signal", "code", "exception"}:
        print("about to fail", file=sys.stderr, flush=True)
        mark.touch()
    if "exception" in orders:
        raise ValueError(orders["exception"])
    if "signal" in orders:
        os.kill(os.getpid(), orders["signal"])
        signal.pause()
    if orders.get("code"):
        sys.exit(orders["code"])


def hang_as_told():
    while orders.get("hang") and attempt in orders.get("attempts", [attempt]):
        if rank == orders.get("rank", 0):
            sleep_for_ever()
        time.sleep(1000)  # such as in a collective


def sleep_for_ever():
    heart.beat("set-up" if orders.get("never_ready") else "data")
    time.sleep(1000)


def wait_as_told():
    write("waiting", str(os.getpid()))
    while orders.get("wait") and attempt in orders.get("attempts", [attempt]):
        if config["kind"] == "train" and Path(config["stop_file"]).exists():
            checkpoint(7)
            sys.exit(75)
        heart.beat("step")
        time.sleep(0.02)


print(f"{config['kind']} attempt {attempt} rank {rank}", flush=True)
result = {"attempt": attempt, "report": [f"{config['kind']} was here"]}
if config["kind"] == "train":
    heart.beat("set-up")
    before = newest()
    account = {"packs_per_epoch": [20], "packs_per_step": 1}
    write(
        "data.json", {**account, "sources": {"rows": {"tokens_per_epoch": [200], "samples_per_epoch": [20]}}}
    )
    write("progress.json", {"done": 5, "total": 20, "unit": "steps", "loss": 0.5, "eta_seconds": 3.0})
    if rank == 0:
        checkpoint(5)
    if not orders.get("never_ready"):
        heart.beat("step", 5)
    hang_as_told()
    wait_as_told()
    fail_as_told()
    if rank == 0:
        checkpoint(20)
    result |= {"step": 20, "total_steps": 20, "reason": "data_end", "loss": 0.05}
else:
    wait_as_told()
    fail_as_told()
    built = ["pretrain", "sft", "validation", "test", "items.parquet", "histories.parquet"]
    for name in {"build_data": built, "evaluate": ["ranks.parquet"]}.get(config["kind"], ["model"]):
        (home / name).mkdir(exist_ok=True)
    write("summary.json", {})
if config["kind"] == "convert":
    step = config["step"] or 20
    name = "converted" if config["dtype"] == "bf16" else f"converted-{config['dtype']}"
    target = Path(config["stage_dir"]) / f"step{step}" / f"global_step{step}" / name
    target.mkdir(parents=True, exist_ok=True)
    if config["link"]:
        Path(config["link"]).unlink(missing_ok=True)
        Path(config["link"]).symlink_to(os.path.relpath(target, Path(config["link"]).parent))
    (target / "config.json").write_text('{"model_type": "qwen3"}')
if config["kind"] == "evaluate":
    names = [*config["models"], *config["evaluation"]["baselines"]]
    figure = {"value": 0.25, "low": 0.2, "high": 0.3}
    table = [
        {"model": name, "is_baseline": name not in config["models"], "recall@10": figure, "ndcg@10": figure}
        for name in names
    ]
    segment = {"by": "history_length", "segment": "1-5", "users": 3, **table[0]}
    figures = {"headline_k": 10, "split": config["split"], "table": table, "segments": [segment]}
    result |= {**figures, "counts": {"asked": 3, "users": 4, "items": 5}, "differences": {}, "tasks": {}}
    write("evaluation.json", result)
if config["kind"] == "recommend":
    items = [{"rank": 1, "pid": "7", "title": "Seven\x1b[2J", "score": -0.5}, {"rank": 2, "pid": "8"}]
    items[1] |= {"title": "", "score": -1.25}
    users = [
        {"history": [{"pid": pid, "title": ""} for pid in history], "items": items[: config["top_k"]]}
        for history in config["histories"]
    ]
    write("recommendations.json", {"users": users, "answer_seconds": 0.1})
if config["kind"] == "encode_items":
    Path(config["target"]).write_text("encoded")
if rank == 0 and not orders.get("no_result"):
    if config["kind"] == "test_model":
        write("test_report.json", result)
    write("result.json", result)
