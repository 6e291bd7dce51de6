"""The verbs that make and examine folders on demand: convert, test-model, shard."""
# ruff: noqa: PLC0415 - heavy parts are imported by the verbs that need them, so that `status` answers at once

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from runner.cli.options import add_json, add_run_dir, add_stage, gigabytes, local, positive, share
from runner.cli.say import as_json, say
from runner.rundir import find_run

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


def convert_arguments(parser: ArgumentParser) -> None:
    """Options of `convert`."""
    add_run_dir(parser)
    add_stage(parser)
    parser.add_argument("--step", type=int, help="optimizer step of the checkpoint")
    parser.add_argument(
        "--dtype", choices=("bf16", "fp16", "fp32"), default="bf16", help="number format of the weights"
    )
    parser.add_argument(
        "--max-shard-gigabytes",
        metavar="GB",
        type=gigabytes,
        default=5.0,
        help="largest safetensors file; default: 5",
    )
    outside = parser.add_argument_group("a checkpoint outside of a run, also OpenOneRec's")
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
    outside.add_argument("--output", metavar="DIR", type=local, help="the folder to write")


def convert(arguments: Namespace) -> int:
    """Write one checkpoint as a Hugging Face folder."""
    from runner.on_demand import Export, convert, convert_outside

    export = Export(arguments.dtype, arguments.max_shard_gigabytes)
    outside = (arguments.source, arguments.model_dir, arguments.output)
    if any(path is not None for path in outside):
        code, folder = convert_outside(*outside, step=arguments.step, export=export, env=os.environ)
    else:
        run = find_run(arguments.run)
        code, folder = convert(run, step=arguments.step, stage=arguments.stage, export=export, env=os.environ)
    if code == 0:
        say(f"converted: {folder}")
    return code


def test_model_arguments(parser: ArgumentParser) -> None:
    """Options of `test-model`."""
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
        type=positive,
        help="longest answer, where a case does not say; default: 32",
    )
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: a GPU if there is one"
    )
    add_json(parser)


def test_model(arguments: Namespace) -> int:
    """Tell whether a Hugging Face folder is sound."""
    from runner.on_demand import examine
    from runner.report import report_lines

    code, result = examine(
        arguments.model_dir,
        cases=arguments.cases,
        max_new_tokens=arguments.max_new_tokens,
        device=arguments.device,
        env=os.environ,
    )
    if result:  # a wrong call has none, and was told
        say(
            as_json({"schema_version": 1, **result}) if arguments.as_json else "\n".join(report_lines(result))
        )
    return code


def shard_arguments(parser: ArgumentParser) -> None:
    """Options of `shard`."""
    what = "parquet files, folders, globs, file lists or URLs, in the order in which they are merged"
    parser.add_argument("sources", metavar="SOURCE", nargs="+", help=what)
    parser.add_argument("--output", metavar="DIR", type=local, required=True, help="a new folder")
    parser.add_argument(
        "--rows-per-file",
        metavar="N",
        type=positive,
        default=1000,
        help="the last file may have less; default: 1000",
    )
    parser.add_argument(
        "--max-reject-fraction",
        metavar="SHARE",
        type=share,
        default=0.0,
        help="share of rows that may break the field rules, and are left out; default: 0",
    )


def shard(arguments: Namespace) -> int:
    """Merge parquet trees and split them into files of equal numbers of rows."""
    from runner.on_demand import shard

    return shard(
        arguments.sources,
        output=arguments.output,
        rows_per_file=arguments.rows_per_file,
        max_reject_fraction=arguments.max_reject_fraction,
        env=os.environ,
    )
