"""Settings of evaluation: what a recommender is asked, how answers are found, what it is compared with."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from onerec.config.section import Section, Speed

Baseline = Literal["popularity", "item_knn", "sasrec"]
BASELINES: tuple[Baseline, ...] = get_args(Baseline)
"""Simple models that can be fitted to the same split."""


class Evaluation(Section):
    """What an evaluation asks of a recommender."""

    top_k: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (5, 10, 20)
    """Lengths of the lists of which recall, NDCG and coverage are told."""
    num_beams: PositiveInt = 32
    """Prefixes of ids that the search keeps for each user; at least the largest of top_k."""
    exclude_history: bool = True
    """Whether items of the user's history are left out of every model's list."""
    baselines: tuple[Baseline, ...] = ()
    """Simple models fitted to the same training part and measured in the same way."""
    free_beams: NonNegativeInt = 10
    """Beams of a search that may say anything, for the share of valid ids; 0 leaves it out."""
    max_users: PositiveInt | None = None
    """At most so many users, drawn by the seed; default: all of them."""
    max_descriptions: NonNegativeInt = 200
    """At most so many item descriptions are generated and compared; 0 leaves them out."""
    max_new_tokens: PositiveInt = 64
    """Longest description."""
    bootstrap_samples: NonNegativeInt = 1000
    """Resamplings of the users for 95 % intervals; 0 tells none."""
    batch_size: Annotated[PositiveInt, Speed] = 32
    """Users that are asked at a time."""

    @model_validator(mode="after")
    def _fits(self) -> Evaluation:
        if self.num_beams < max(self.top_k):
            raise ValueError(
                f"num_beams {self.num_beams} cannot fill a list of {max(self.top_k)}; raise it or lower top_k"
            )
        return self
