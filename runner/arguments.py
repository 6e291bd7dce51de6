"""The command line of every verb, and what its help says.

argparse, and only the parser of the verb that was called: `status` has to answer at once, and loading typer
would alone take most of that time.
"""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

TRACEBACK = "--traceback"

USAGE = """usage: runner MANIFEST | runner VERB ...

Bring the training programme that a manifest describes to its end. The verbs:

{verbs}

`runner VERB --help` tells more. --traceback, with any verb, shows where a fault was found.
"""


def parse(arguments: Sequence[str]) -> Namespace | None:
    """The verb and its options; None when the overview is wanted.

    Ends the process with exit code 2 and a message for a wrong call, with 0 after a verb's help.
    """
    rest = [argument for argument in arguments if argument != TRACEBACK]
    if not rest or rest[0] in {"-h", "--help"}:
        return None
    verb = rest.pop(0) if rest[0] in VERBS else "run"
    explanation, add_arguments = VERBS[verb]
    parser = ArgumentParser(prog=f"runner {verb}", description=explanation, allow_abbrev=False)
    add_arguments(parser)
    parsed = parser.parse_intermixed_args(rest)
    parsed.verb, parsed.traceback = verb, TRACEBACK in arguments
    return parsed


def overview() -> str:
    """All verbs with one line each."""
    return USAGE.format(verbs="\n".join(f"  {verb:<11} {text}" for verb, (text, _) in VERBS.items()))


def _run(parser: ArgumentParser) -> None:
    _manifest(parser)
    parser.add_argument(
        "--rerun",
        metavar="STAGE",
        action="append",
        default=[],
        help="run this stage, and all after it, again; what is there now is kept aside; may be repeated",
    )


def _plan(parser: ArgumentParser) -> None:
    _manifest(parser)
    _json(parser)


def _check(parser: ArgumentParser) -> None:
    _manifest(parser)
    _json(parser)
    parser.add_argument("--fast", action="store_true", help="do not read the data")


def _status(parser: ArgumentParser) -> None:
    _run_dir(parser)
    _json(parser)
    parser.add_argument("--watch", action="store_true", help="show it again until the run has ended")


def _convert(parser: ArgumentParser) -> None:
    _run_dir(parser)
    _stage(parser)
    parser.add_argument("--step", type=int, help="optimizer step of the checkpoint")
    parser.add_argument(
        "--dtype", choices=("bf16", "fp16", "fp32"), default="bf16", help="number format of the weights"
    )
    parser.add_argument(
        "--max-shard-gigabytes",
        metavar="GB",
        type=_gigabytes,
        default=5.0,
        help="largest safetensors file; default: 5",
    )
    outside = parser.add_argument_group(
        "a checkpoint outside of a run, also one that OpenOneRec's trainer wrote"
    )
    outside.add_argument(
        "--from",
        dest="source",
        metavar="DIR",
        type=Path,
        help="its folder, or the folder of all steps and --step",
    )
    outside.add_argument(
        "--model-dir", metavar="DIR", type=Path, help="Hugging Face folder with its config and tokenizer"
    )
    outside.add_argument("--output", metavar="DIR", type=_local, help="the folder to write")


def _test_model(parser: ArgumentParser) -> None:
    parser.add_argument("model_dir", metavar="DIR", type=Path, help="a Hugging Face folder")
    parser.add_argument(
        "--cases",
        metavar="FILE",
        type=Path,
        help="a JSON list of prompts and what the answers must hold; default: a few without expectations",
    )
    parser.add_argument(
        "--max-new-tokens",
        metavar="N",
        type=_positive,
        help="longest answer, where a case does not say; default: 32",
    )
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: a GPU if there is one"
    )
    _json(parser)


def _preview(parser: ArgumentParser) -> None:
    _manifest(parser)
    _json(parser)
    parser.add_argument("--dataset", metavar="NAME", required=True, help="one of the manifest's datasets")
    parser.add_argument("--n", dest="samples", type=_positive, default=3, help="how many samples; default: 3")


def _shard(parser: ArgumentParser) -> None:
    what = "parquet files, folders, globs, file lists or URLs, in the order in which they are merged"
    parser.add_argument("sources", metavar="SOURCE", nargs="+", help=what)
    parser.add_argument("--output", metavar="DIR", type=_local, required=True, help="a new folder")
    parser.add_argument(
        "--rows-per-file",
        metavar="N",
        type=_positive,
        default=1000,
        help="the last file may have less; default: 1000",
    )
    parser.add_argument(
        "--max-reject-fraction",
        metavar="SHARE",
        type=_share,
        default=0.0,
        help="share of rows that may break the field rules, and are left out; default: 0",
    )


def _logs(parser: ArgumentParser) -> None:
    _run_dir(parser)
    _stage(parser)
    parser.add_argument("--rank", type=int, help="one rank's own logs, of its newest attempt")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the run has ended")


def _stop(parser: ArgumentParser) -> None:
    _run_dir(parser)
    parser.add_argument("--no-wait", action="store_true", help="do not wait until the run has ended")
    parser.add_argument("--timeout", metavar="SECONDS", type=float, default=600.0, help="longest wait")


def _doctor(parser: ArgumentParser) -> None:
    _run_dir(parser)
    _json(parser)
    parser.add_argument(
        "--fast", action="store_true", help="compare sizes of checkpoints instead of reading them whole"
    )


def _manifest(parser: ArgumentParser) -> None:
    parser.add_argument("manifest", metavar="MANIFEST", type=Path, help="a manifest (TOML)")
    parser.add_argument(
        "--set",
        dest="settings",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="override a key by its dotted place, such as stages.sft.learning_rate=1e-5; may be repeated",
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


def _gigabytes(text: str) -> float:
    try:
        size = float(text)
    except ValueError:
        size = 0.0
    if not size > 0:
        raise ArgumentTypeError(f"{text!r} is no number above 0")
    return size


def _local(text: str) -> Path:
    if "://" in text:
        raise ArgumentTypeError(f"{text!r} is a URL; name a local folder")
    return Path(text)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise ArgumentTypeError(f"{text!r} is no share from 0 to 1")
    return share


def _run_dir(parser: ArgumentParser) -> None:
    text = "a run directory or name; default: the run last started"
    parser.add_argument("run", metavar="RUN", nargs="?", help=text)


def _stage(parser: ArgumentParser) -> None:
    parser.add_argument("--stage", metavar="NAME", help="a stage of the run")


def _json(parser: ArgumentParser) -> None:
    parser.add_argument("--json", dest="as_json", action="store_true", help="JSON for programs")


VERBS: dict[str, tuple[str, Callable[[ArgumentParser], None]]] = {
    "run": ("bring the run of a manifest to its end: do what is left, skip what is done", _run),
    "plan": ("show every step, what it reads and writes and what would be done; start nothing", _plan),
    "check": ("look for everything that would keep the run from starting, or spoil it", _check),
    "status": ("show how far a run is, its loss, time left, checkpoints, and why it is not well", _status),
    "resume": ("go on from the run directory's own record", _run_dir),
    "convert": ("write one checkpoint as a Hugging Face folder; the run may go on meanwhile", _convert),
    "test-model": ("load a model, run it, generate text and chat, and tell whether it is sound", _test_model),
    "preview": ("show samples of a dataset as they are trained, and the packs that hold them", _preview),
    "shard": ("merge parquet trees and split them into files of equal numbers of rows", _shard),
    "logs": ("show what a stage wrote; default: the one started last", _logs),
    "stop": ("stop a run at the next step boundary, with a checkpoint", _stop),
    "doctor": ("check a run directory from outside: what is damaged, what is left over, what to do", _doctor),
}
