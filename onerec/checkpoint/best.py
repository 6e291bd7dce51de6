"""best.json of a stage: the step whose hit rates are the best so far, and what they are.

Files only, no torch. Which step is the best is decided by whoever measures; its checkpoint is never pruned.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from onerec.errors import StorageError
from onerec.progress import write_json_atomically

if TYPE_CHECKING:
    from pathlib import Path

BEST_NAME = "best.json"


@dataclass(frozen=True)
class Best:
    """Figures of the best step so far."""

    step: int
    ndcg: float
    """NDCG at `k`: what is compared."""
    hit_rate: float
    """Share of questions whose answer is among the first `k` items."""
    valid_id_rate: float
    """Share of questions whose likeliest answer, said freely, is an item."""
    questions: int
    k: int

    def is_beaten_by(self, other: Best) -> bool:
        """Whether another step is better; equal ones are not, and figures of other questions always are."""
        return (self.questions, self.k) != (other.questions, other.k) or other.ndcg > self.ndcg


def read_best(stage_dir: Path) -> Best | None:
    """What best.json tells; None where there is none. Raises StorageError for a file of another form."""
    path = stage_dir / BEST_NAME
    try:
        return TypeAdapter(Best).validate_python(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, ValidationError) as fault:
        remedy = "remove it; the stage writes it again with its next checkpoint"
        raise StorageError(f"{path} cannot be read ({fault}); {remedy}") from fault


def record_best(stage_dir: Path, best: Best | None) -> None:
    """Have best.json tell this, in one move; None removes it."""
    path = stage_dir / BEST_NAME
    if best is None:
        path.unlink(missing_ok=True)
        return
    document = asdict(best)
    try:
        if json.loads(path.read_text(encoding="utf-8")) == document:
            return
    except (OSError, ValueError):
        pass  # not there, or torn: written now
    write_json_atomically(path, document)
