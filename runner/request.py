"""What a person asked for: a plan to bring to its end, and with what."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.launch.values import Toolchain
    from runner.manifest.tables import Cluster
    from runner.steps import Plan

BACKOFF_SECONDS = 5.0


@dataclass(frozen=True)
class Request:
    """What to bring to its end, and how."""

    plan: Plan
    cluster: Cluster
    tools: Toolchain
    manifest_text: bytes
    resolved_text: str
    manifest_dir: str
    overrides: tuple[str, ...] = ()
    rerun: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    """Environment of the caller, of which the steps get a part."""
    backoff_seconds: float = BACKOFF_SECONDS
    """Pause before a failed training step is started again; it doubles every time."""
