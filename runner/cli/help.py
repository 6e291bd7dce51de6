"""What the help of each verb tells besides its options: examples, exit codes that matter, verbs beside it.

Only texts, and how they are laid out for the width of the terminal.
"""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

GROUPS: Mapping[str, tuple[str, ...]] = {
    "write a manifest": ("new", "explain", "schema"),
    "look before it starts": ("check", "preview", "plan"),
    "train": ("run", "stop", "resume"),
    "watch": ("status", "logs", "report", "list", "diff", "doctor"),
    "use what was trained, and data": ("evaluate", "recommend", "encode", "convert", "test-model", "shard"),
    "the shell": ("completion",),
}
"""The verbs by what people do."""

CODES: Mapping[int, str] = {
    0: "all is well",
    1: "a stage failed",
    2: "the manifest or the call is wrong",
    3: "preflight refused to start",
    4: "run and manifest, data or code have drifted apart",
    5: "another runner works on the run",
    6: "data cannot be read, or too many rows were rejected",
    7: "do not start again: diverged, or no progress over several attempts",
    8: "a rank hung",
    9: "storage is full, read-only or damaged",
    10: "refused as unsafe",
    75: "stopped on request, with a checkpoint: start again to go on",
    130: "interrupted at the keyboard: start again to go on",
}
"""Exit codes of all verbs."""


@dataclass(frozen=True)
class Help:
    """What a verb's help ends with."""

    about: str
    """What it does, beyond its line in the overview."""
    examples: Sequence[tuple[str, str]]
    """Commands, each with what it is for."""
    codes: Mapping[int, str]
    """Exit codes that matter here, in the words of this verb."""
    related: tuple[str, ...]


def _codes(*numbers: int, **own: str) -> dict[int, str]:
    return {number: CODES[number] for number in numbers} | {int(key[1:]): text for key, text in own.items()}


HELP: Mapping[str, Help] = {
    "run": Help(
        "Stages that are done are skipped, an interrupted one goes on from its newest checkpoint. Ctrl-C or "
        "SIGTERM ends the step and saves; a second Ctrl-C ends at once.",
        (
            ("runner my.toml", "the same as: runner run my.toml"),
            ("runner my.toml --set stages.sft.learning_rate=1e-5", "with another value, recorded in the run"),
            ("runner my.toml --rerun sft", "train a finished stage again; what there was is kept beside it"),
        ),
        _codes(0, 1, 2, 3, 4, 5, 7, 9, 75, 130),
        ("check", "status", "stop", "resume"),
    ),
    "plan": Help(
        "Nothing is started and nothing is written.",
        (
            ("runner plan my.toml", "every step, its exact command, and the memory that it needs"),
            ("runner plan my.toml --json", "the same for programs"),
        ),
        _codes(0, 2),
        ("check", "preview"),
    ),
    "check": Help(
        "Everything is told at once, errors and warnings apart; every start does the same without the data.",
        (
            ("runner check my.toml", "paths, hosts, disk, memory; footers of all files and a sample of rows"),
            ("runner check my.toml --fast", "without reading the data"),
            ("runner check my.toml --json", "a list of findings; of a wrong manifest its faults"),
        ),
        _codes(2, _0="nothing keeps the run from starting", _3="something does"),
        ("plan", "preview", "explain"),
    ),
    "preview": Help(
        "Samples are rendered and tokenised as for training, tokens that are trained marked.",
        (
            ("runner preview my.toml --dataset sft --n 3", "three samples and the packs that hold them"),
            ("runner preview my.toml --dataset sft --json", "the packs as ids and labels"),
        ),
        _codes(0, 2, 6),
        ("check", "shard"),
    ),
    "status": Help(
        "Takes no lock and may be asked at any time.",
        (
            ("runner status", "the run last started"),
            ("runner status runs/onerec-1.7b --watch", "redrawn until it has ended"),
            ("runner status --json", "the same for programs"),
        ),
        _codes(2, _0="whatever the state of the run is"),
        ("logs", "doctor", "list"),
    ),
    "logs": Help(
        "Without options what the launcher and rank 0 wrote, over all attempts. Lines of log files have no "
        "times: those of several ranks are shown rank by rank, each after its rank and host; with --follow "
        "new lines come as they are written.",
        (
            ("runner logs -f", "follow the stage that runs, until the run has ended"),
            ("runner logs --stage sft --all-ranks --errors", "what ranks wrote to stderr"),
            ("runner logs --grep 'loss [0-9]' --tail 20", "the last twenty lines with a loss"),
        ),
        _codes(0, 2),
        ("status", "doctor"),
    ),
    "report": Help(
        "",
        (
            ("runner report", "report.html in the directory of the run last started"),
            ("runner report onerec-1.7b --output page.html", "elsewhere"),
        ),
        _codes(0, 2, 9),
        ("status", "diff"),
    ),
    "list": Help(
        "",
        (
            ("runner list", "all runs below runs"),
            ("runner list /data/runs --json", "another folder, for programs"),
        ),
        _codes(0, 2),
        ("status", "diff", "doctor"),
    ),
    "diff": Help(
        "",
        (
            ("runner diff first second", "two runs: manifests and results"),
            ("runner diff first my.toml --exit-code", "a run and a manifest; ends with 1 when they differ"),
        ),
        _codes(0, 2, _1="with --exit-code: something differs"),
        ("plan", "explain", "list"),
    ),
    "resume": Help(
        "The manifest may be gone: what the run was started with is in its directory.",
        (
            ("runner resume", "the run last started"),
            ("runner resume runs/onerec-1.7b", "another one"),
        ),
        _codes(0, 1, 2, 3, 4, 5, 75, 130),
        ("run", "stop", "status"),
    ),
    "stop": Help(
        "The step is finished, a checkpoint is saved, and the command waits for that.",
        (
            ("runner stop", "the run last started"),
            ("runner stop runs/onerec-1.7b --no-wait", "ask, and do not wait"),
        ),
        _codes(0, 2),
        ("resume", "status"),
    ),
    "convert": Help(
        "Every tensor is proved equal to its source. A stage's last checkpoint is converted by itself.",
        (
            ("runner convert --step 4000", "a checkpoint of the run last started"),
            ("runner convert --step 4000 --stage sft --dtype fp32", "in another number format"),
            ("runner convert --from out/step40 --model-dir Qwen3 --output my-model", "one outside of a run"),
        ),
        _codes(0, 1, 2, 9),
        ("test-model", "status"),
    ),
    "test-model": Help(
        "",
        (
            ("runner test-model runs/onerec-1.7b/sft/converted", "weights, forward pass, generation"),
            (
                "runner test-model my-model --cases cases.json --json",
                "with prompts of your own, for programs",
            ),
        ),
        _codes(0, 2, _1="the model is not sound"),
        ("evaluate", "convert"),
    ),
    "evaluate": Help(
        "Every user's held-out item is looked for in a list of items; what is told is the share found, with "
        "intervals. A manifest does the same with a stage of kind 'evaluate'.",
        (
            ("runner evaluate runs/movielens --baselines popularity,item_knn", "the newest model of a run"),
            ("runner evaluate runs/movielens/stage2 --split validation --top-k 1,10", "of one of its stages"),
            ("runner evaluate my-model --data runs/movielens/data/rows --json", "a folder of its own"),
        ),
        _codes(0, 2, 6),
        ("recommend", "test-model", "report"),
    ),
    "recommend": Help(
        "All users are answered by one process. Items of a history are not recommended again.",
        (
            ("runner recommend movielens --history 50,181,1", "the newest model of a run, one user"),
            ("runner recommend my-model --history 50,181 --history 7 --top-k 3 --json", "two users"),
            ("runner recommend my-model --history - < users.txt", "a user a line"),
        ),
        _codes(0, 2, 6),
        ("evaluate", "encode"),
    ),
    "encode": Help(
        "Ids that were given before stay as they are.",
        (
            (
                "runner encode movielens new.csv --output new.parquet",
                "columns as the run's manifest says",
            ),
            ("runner encode built/rows new.csv --output new.parquet --column id=asin", "with other names"),
            ("runner encode movielens more.csv --output more.parquet --before new.parquet", "and later more"),
        ),
        _codes(0, 2, 6, 9),
        ("recommend", "new"),
    ),
    "shard": Help(
        "",
        (
            ("runner shard raw/ --output sharded", "one tree, split into files of 1000 rows"),
            ("runner shard a.parquet s3://bucket/b/ --output both --rows-per-file 50000", "several, merged"),
        ),
        _codes(0, 2, 6, 9),
        ("preview", "check"),
    ),
    "doctor": Help(
        "Changes nothing.",
        (
            ("runner doctor", "the run last started; checkpoints are read whole"),
            ("runner doctor runs/onerec-1.7b --fast --json", "only sizes, for programs"),
        ),
        _codes(2, _0="the run is sound", _1="something is damaged or left over"),
        ("status", "logs", "list"),
    ),
    "new": Help(
        "Looks at a Qwen3 folder, at some rows and at the GPUs here, and writes a manifest in which every "
        "choice is explained and every other key stands with its default. A file is never overwritten.",
        (
            ("runner new /models/Qwen3-1.7B /data/sft", "writes qwen3-1.7b.toml"),
            ("runner new Qwen3-1.7B s3://bucket/sft/ --name shop --output shop.toml", "names of your own"),
            ("runner new movielens", "a copy of what is shipped: a manifest, or templates; --list tells all"),
        ),
        _codes(0, 2),
        ("explain", "check", "schema"),
    ),
    "explain": Help(
        "",
        (
            ("runner explain learning_rate", "meaning, default, and what changing it changes"),
            ("runner explain stages.sft.min_lr my.toml", "also its value there, and the line it comes from"),
        ),
        _codes(0, 2),
        ("schema", "new", "plan"),
    ),
    "schema": Help(
        "Editors that know TOML schemas complete keys and show what they mean.",
        (
            (
                "runner schema > manifest.schema.json",
                "then write as first line: #:schema manifest.schema.json",
            ),
        ),
        _codes(0),
        ("explain", "new"),
    ),
    "completion": Help(
        "Verbs, options, runs, stages of the run and steps of its checkpoints are completed.",
        (
            ("source <(runner completion bash)", "in ~/.bashrc; for zsh: source <(runner completion zsh)"),
            ("runner completion fish | source", "in config.fish"),
        ),
        _codes(0, 2),
        ("explain",),
    ),
}
"""What is told of each verb."""


def width() -> int:
    """Columns to fill: those of COLUMNS or the terminal, not so many that lines are hard to read."""
    return max(40, min(shutil.get_terminal_size().columns - 2, 110))


def description(verb: str, explanation: str) -> str:
    """What a verb does."""
    about = HELP[verb].about if verb in HELP else ""
    text = f"{explanation[0].upper()}{explanation[1:]}." + (f" {about}" if about else "")
    return textwrap.fill(text, width(), break_on_hyphens=False)


def epilog(verb: str, explanations: Mapping[str, str]) -> str:
    """Examples, exit codes and related verbs; empty for a verb that has none."""
    if verb not in HELP:
        return ""
    told = HELP[verb]
    examples = "\n".join(f"  {command}\n{_filled(what, 6)}" for command, what in told.examples)
    codes = "\n".join(
        textwrap.fill(text, width(), initial_indent=f"  {number:>3}  ", subsequent_indent=" " * 7)
        for number, text in sorted(told.codes.items())
    )
    related = "\n".join(_row(name, explanations[name]) for name in told.related if name in explanations)
    return f"examples:\n{examples}\n\nexit codes:\n{codes}\n\nsee also:\n{related}"


def overview(explanations: Mapping[str, str]) -> str:
    """All verbs by what people do."""
    grouped = {name for names in GROUPS.values() for name in names}
    others = tuple(name for name in explanations if name not in grouped)
    groups = {**GROUPS, **({"more": others} if others else {})}
    parts = [
        f"{title}:\n" + "\n".join(_row(name, explanations[name]) for name in names if name in explanations)
        for title, names in groups.items()
    ]
    return "\n\n".join(parts)


def _row(name: str, text: str) -> str:
    return textwrap.fill(
        text, width(), initial_indent=f"  {name:<11} ", subsequent_indent=" " * 14, break_on_hyphens=False
    )


def _filled(text: str, indent: int) -> str:
    return textwrap.fill(text, width(), initial_indent=" " * indent, subsequent_indent=" " * indent)
