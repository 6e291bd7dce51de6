"""A stand-in for the trainer: writes what a step would write, and fails where STAND_IN tells it to.

STAND_IN is JSON: by stage (or kind) {"code", "signal", "rank", "attempts", "wait", "no_result", "delay"}.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

config = json.loads(Path(sys.argv[1]).read_text())
rank = int(os.environ.get("RANK", os.environ.get("OMPI_COMM_WORLD_RANK", "0")))
attempt = int(os.environ["RUNNER_ATTEMPT"])
home = Path(config["output_dir"])
home.mkdir(parents=True, exist_ok=True)
orders = json.loads(os.environ.get("STAND_IN", "{}")).get(config.get("stage", config["kind"]), {})


def write(name, document):
    path = home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))


def checkpoint(step):
    write(f"step{step}/COMMIT.json", {})
    write("metrics.jsonl", json.dumps({"step": step, "loss": 1 / step, "tokens_per_second": 10.0}) + "\n")
    write("latest", f"step{step}")


def fail_as_told():
    if attempt not in orders.get("attempts", [attempt]) or rank != orders.get("rank", 0):
        time.sleep(orders.get("delay", 0))
        return
    if orders.keys() & {"signal", "code"}:
        print("about to fail", file=sys.stderr, flush=True)
    if "signal" in orders:
        os.kill(os.getpid(), orders["signal"])
        signal.pause()
    if orders.get("code"):
        sys.exit(orders["code"])


def wait_as_told():
    write("waiting", str(os.getpid()))
    while orders.get("wait") and attempt in orders.get("attempts", [attempt]):
        if config["kind"] == "train" and Path(config["stop_file"]).exists():
            checkpoint(7)
            sys.exit(75)
        time.sleep(0.02)


print(f"{config['kind']} attempt {attempt} rank {rank}", flush=True)
result = {"attempt": attempt, "report": [f"{config['kind']} was here"]}
if config["kind"] == "train":
    write("progress.json", {"done": 5, "total": 20, "unit": "steps", "loss": 0.5, "eta_seconds": 3.0})
    if rank == 0:
        checkpoint(5)
    wait_as_told()
    fail_as_told()
    if rank == 0:
        checkpoint(20)
    result |= {"step": 20, "total_steps": 20, "reason": "data_end", "loss": 0.05}
else:
    wait_as_told()
    fail_as_told()
    for name in {"build_data": ["pretrain", "sft", "test", "items.parquet"]}.get(config["kind"], ["model"]):
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
if rank == 0 and not orders.get("no_result"):
    if config["kind"] == "test_model":
        write("test_report.json", result)
    write("result.json", result)
