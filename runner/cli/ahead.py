"""The verbs that look at a manifest before anything starts: plan, check, preview."""
# ruff: noqa: PLC0415 - heavy parts are imported by the verbs that need them, so that `status` answers at once

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from runner.cli.options import add_json, add_manifest, positive
from runner.cli.say import as_json, has_styles, say

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

SOMETHING_LEFT, PREFLIGHT_REFUSED = 1, 3


def plan_arguments(parser: ArgumentParser) -> None:
    """Options of `plan`."""
    add_manifest(parser)
    add_json(parser)
    parser.add_argument("--check", action="store_true", help="exit with 1 when there is something to do")


def plan(arguments: Namespace) -> int:
    """Show every step; start nothing."""
    from runner.compose import view
    from runner.manifest import load
    from runner.plan_report import plan_document, plan_text

    found = view(load(arguments.manifest, arguments.settings).manifest, env=os.environ)
    say(as_json(plan_document(found)) if arguments.as_json else plan_text(found))
    is_left = any(decision.action != "skip" for decision in found.decisions)
    return SOMETHING_LEFT if arguments.check and is_left else 0


def check_arguments(parser: ArgumentParser) -> None:
    """Options of `check`."""
    add_manifest(parser)
    add_json(parser)
    parser.add_argument("--fast", action="store_true", help="do not read the data")


def check(arguments: Namespace) -> int:
    """Look for everything that would keep the run from starting."""
    from runner.inspection import inspect
    from runner.inspection_text import check_text
    from runner.manifest import load
    from runner.memories import memories_of
    from runner.preflight import check
    from runner.preflight.hosts import check_hosts
    from runner.preflight.memory import memory_figures

    loaded = load(arguments.manifest, arguments.settings)
    findings = check(loaded.manifest)
    findings += check_hosts(loaded.manifest, env=os.environ).findings
    if not arguments.fast:
        findings += tuple(memory_figures(memories_of(loaded.manifest, env=os.environ)))
        findings += inspect(loaded, findings, env=os.environ)
    say(as_json([vars(finding) for finding in findings]) if arguments.as_json else check_text(findings))
    return PREFLIGHT_REFUSED if any(finding.level == "error" for finding in findings) else 0


def preview_arguments(parser: ArgumentParser) -> None:
    """Options of `preview`."""
    add_manifest(parser)
    add_json(parser)
    parser.add_argument("--dataset", metavar="NAME", required=True, help="one of the manifest's datasets")
    parser.add_argument("--n", dest="samples", type=positive, default=3, help="how many samples; default: 3")


def preview(arguments: Namespace) -> int:
    """Show samples of a dataset as they are trained."""
    from runner.manifest import load
    from runner.preview import preview
    from runner.preview_view import preview_text

    loaded = load(arguments.manifest, arguments.settings)
    code, found = preview(loaded, dataset=arguments.dataset, samples=arguments.samples, env=os.environ)
    if code == 0:
        say(json.dumps(found["packs"]) if arguments.as_json else preview_text(found, has_styles=has_styles()))
    return code
