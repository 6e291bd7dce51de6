"""The verbs of the runner and their exit codes; the only file that prints.

Heavy parts are imported by the verbs that need them, so that `status` answers at once.
"""
# ruff: noqa: PLC0415 - see above

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn, Optional

import typer

from onerec.errors import ConfigError, OneRecError
from runner.rundir import RunDir, find_run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from runner.console import PlainListener
    from runner.manifest import Manifest

PREFLIGHT_REFUSED = 3
WATCH_SECONDS = 2.0
TRACEBACK = "--traceback"

app = typer.Typer(
    name="runner",
    help="Bring the training programme of a manifest to its end; `runner MANIFEST` is `runner run`.",
    epilog="--traceback, with any verb, shows where a fault was found.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
)

ManifestFile = Annotated[Path, typer.Argument(metavar="MANIFEST", help="A manifest (TOML).")]
Run = Annotated[
    Optional[str],  # noqa: UP045 - typer evaluates this on 3.10 too
    typer.Argument(metavar="[RUN]", help="A run directory or name; default: the run last started."),
]
Settings = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key by its dotted place; repeatable."),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON for programs.")]
StageName = Annotated[Optional[str], typer.Option("--stage", help="Name of a stage.")]  # noqa: UP045


def main() -> None:
    """Entry point: the process ends with one of the documented exit codes."""
    arguments = with_default_verb(sys.argv[1:])
    with_traceback = TRACEBACK in arguments
    if with_traceback:
        arguments = [argument for argument in arguments if argument != TRACEBACK]
        os.environ["RUNNER_TRACEBACK"] = "1"
    try:
        app(arguments, prog_name="runner")
    except OneRecError as fault:
        if with_traceback:
            raise
        _complain(f"error: {fault}")
        sys.exit(fault.exit_code)


def with_default_verb(arguments: Sequence[str]) -> list[str]:
    """The arguments with `run` put in front when they begin with a manifest."""
    verbs = {command.name for command in app.registered_commands}
    first = next((argument for argument in arguments if argument != TRACEBACK), "--help")
    if first in verbs or first in {"--help", "-h"}:
        return list(arguments)
    return ["run", *arguments]


@app.command("run")
def run_verb(
    manifest: ManifestFile,
    settings: Settings = None,
    rerun: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--rerun", metavar="STAGE", help="Run this stage, and all after it, again; repeatable."),
    ] = None,
) -> None:
    """Bring the run of a manifest to its end: do what is left, skip what is done."""
    from runner.compose import run_of
    from runner.manifest import load

    loaded = load(manifest, settings or ())
    _bring_to_end(
        loaded.manifest,
        run=run_of(loaded.manifest),
        text=loaded.text,
        manifest_dir=str(manifest.absolute().parent),
        overrides=loaded.overrides,
        rerun=tuple(rerun or ()),
    )


@app.command("resume")
def resume_verb(run: Run = None) -> None:
    """Go on from the run directory's own record."""
    from runner.history import fold
    from runner.journal import read
    from runner.manifest import restore

    found = find_run(run)
    history = fold(read(found.events))
    _bring_to_end(
        restore(found.resolved.read_bytes()),
        run=found,
        text=found.manifest.read_bytes(),
        manifest_dir=history.manifest_dir or "",
        overrides=history.overrides,
        rerun=(),
    )


@app.command("plan")
def plan_verb(
    manifest: ManifestFile,
    settings: Settings = None,
    as_json: AsJson = False,
    argv: Annotated[bool, typer.Option("--argv", help="Show the exact command of each step.")] = False,
) -> None:
    """Show every step, what it reads and writes, and what would be done about it; start nothing."""
    from runner.compose import view
    from runner.manifest import load
    from runner.plan_report import plan_document, plan_text

    found = view(load(manifest, settings or ()).manifest, env=os.environ)
    _say(_json(plan_document(found)) if as_json else plan_text(found, with_argv=argv))


@app.command("check")
def check_verb(manifest: ManifestFile, settings: Settings = None, as_json: AsJson = False) -> None:
    """Look for everything that would keep the run from starting, or spoil it."""
    from runner.manifest import load
    from runner.preflight import check

    findings = check(load(manifest, settings or ()).manifest)
    if as_json:
        _say(_json([vars(finding) for finding in findings]))
    else:
        _say("\n".join(map(str, findings)) or "nothing found that would keep it from starting")
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(PREFLIGHT_REFUSED)


@app.command("status")
def status_verb(
    run: Run = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again until the run has ended.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show how far a run is: steps, loss, time left, checkpoints, and why something is not well."""
    from runner.observe import observe
    from runner.report import status_text

    found = find_run(run)
    while True:
        status = observe(found)
        clear = "\x1b[H\x1b[2J" if watch and sys.stdout.isatty() else ""
        _say(clear + (_json(status) if as_json else status_text(status)))
        if not watch or status["state"] != "running":
            return
        time.sleep(WATCH_SECONDS)


@app.command("convert")
def convert_verb(
    run: Run = None,
    *,
    step: Annotated[int, typer.Option("--step", min=0, help="Optimizer step of the checkpoint.")],
    stage: StageName = None,
    dtype: Annotated[
        Literal["bf16", "fp16", "fp32"], typer.Option("--dtype", help="Number format of the weights.")
    ] = "bf16",
) -> None:
    """Write one checkpoint as a Hugging Face folder; the run may go on meanwhile."""
    from runner.on_demand import convert

    code, folder = convert(find_run(run), step=step, stage=stage, dtype=dtype, env=os.environ)
    if code == 0:
        _say(f"converted: {folder}")
    raise typer.Exit(code)


@app.command("test-model")
def examine_verb(
    model_dir: Annotated[Path, typer.Argument(metavar="DIR", help="A Hugging Face folder.")],
    as_json: AsJson = False,
) -> None:
    """Load a model, run it forward, generate text and chat with it, and tell whether it is sound."""
    from runner.on_demand import examine

    code, result = examine(model_dir, env=os.environ)
    if as_json:
        _say(_json(result))
    else:
        _say("\n".join(report_lines(result)))
    raise typer.Exit(code)


@app.command("logs")
def logs_verb(
    run: Run = None,
    stage: StageName = None,
    rank: Annotated[Optional[int], typer.Option("--rank", min=0, help="One rank's own logs.")] = None,  # noqa: UP045
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")] = False,
) -> None:
    """Show what a stage wrote (default: the one started last), or one rank in its newest attempt."""
    from runner.follow import logs_of, read_logs

    found = find_run(run)
    try:
        for text in read_logs(logs_of(found, stage=stage, rank=rank), run=found, follow=follow):
            sys.stdout.write(text)
            sys.stdout.flush()
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


@app.command("stop")
def stop_verb(
    run: Run = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the run has ended.")] = True,
    timeout: Annotated[float, typer.Option("--timeout", metavar="SECONDS", help="Longest wait.")] = 600,
) -> None:
    """Stop a run at the next step boundary, with a checkpoint; run it again to go on."""
    from runner.observe import is_running
    from runner.stop import ask_to_stop

    found = find_run(run)
    if not is_running(found):
        _say(f"{found.path}: nothing runs")
        return
    ask_to_stop(found.stop_file, by="runner stop")
    deadline = time.monotonic() + timeout
    while wait and is_running(found):
        if time.monotonic() > deadline:
            raise ConfigError(f"{found.path} still runs after {timeout:g} s; see: runner status {found.path}")
        time.sleep(0.1)
    _say(f"{found.path}: {'stopped' if wait else 'asked to stop'}; go on with: runner resume {found.path}")


def report_lines(result: object) -> list[str]:
    """The lines that a step's result has for people."""
    told = result.get("report") if isinstance(result, dict) else None
    return [str(line) for line in told] if isinstance(told, list) else []


def _bring_to_end(
    manifest: Manifest,
    *,
    run: RunDir,
    text: bytes,
    manifest_dir: str,
    overrides: tuple[str, ...],
    rerun: tuple[str, ...],
) -> NoReturn:
    """Preflight, then everything that is left; ends with the exit code of the run."""
    from runner.compose import compose
    from runner.execute import Request, execute
    from runner.manifest import dump
    from runner.toolchain import find_toolchain, read_hosts

    _refuse_to_start_badly(manifest)
    request = Request(
        plan=compose(manifest, run).plan,
        cluster=manifest.cluster,
        tools=find_toolchain(manifest.cluster, hosts=read_hosts(manifest.cluster), env=os.environ),
        manifest_text=text,
        resolved_text=dump(manifest),
        manifest_dir=manifest_dir,
        overrides=overrides,
        rerun=rerun,
        env=dict(os.environ),
    )
    _say(f"run {run.name} in {run.path}")
    with _listener(run) as listener:
        code = execute(request, listener=listener)
    _summarise(run)
    raise typer.Exit(code)


def _refuse_to_start_badly(manifest: Manifest) -> None:
    from runner.preflight import check

    findings = check(manifest)
    for finding in findings:
        _complain(str(finding))
    if any(finding.level == "error" for finding in findings):
        _complain("nothing was started")
        raise typer.Exit(PREFLIGHT_REFUSED)


@contextmanager
def _listener(run: RunDir) -> Iterator[PlainListener]:
    """A progress bar on a terminal, plain lines otherwise."""
    from runner.console import BarListener, PlainListener

    if not sys.stdout.isatty():
        yield PlainListener(run, _say)
        return
    from rich.console import Console

    bar = BarListener(run, Console())
    try:
        yield bar
    finally:
        bar.close()


def _summarise(run: RunDir) -> None:
    from runner.history import fold
    from runner.journal import read
    from runner.observe import observe, read_document
    from runner.report import summary_text

    history = fold(read(run.events))
    done = [step for step in history.steps if history.step(step["name"]).state == "done"]
    notes = {step["name"]: report_lines(read_document(run.step(step["output_dir"]).result)) for step in done}
    _say(summary_text(observe(run), history, run=run, notes=notes))


def _json(document: object) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _complain(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
