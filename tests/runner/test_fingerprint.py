from __future__ import annotations

from typing import get_args

from pydantic import BaseModel

from onerec.config import StepConfig, TrainConfig
from runner.fingerprint import PLACES, differences, settings
from tests.runner.sample import small_plan


def keys_of(config: type[BaseModel]) -> set[str]:
    """Every key of a config and of the sections in it."""
    keys = set(config.model_fields)
    for field in config.model_fields.values():
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                keys |= keys_of(kind)
    return keys


def test_every_key_that_is_left_out_as_a_place_is_a_key_of_some_config() -> None:
    configs = get_args(get_args(StepConfig)[0])
    assert set().union(*map(keys_of, configs)) >= PLACES


def test_no_place_and_nothing_but_results_enters(tmp_path) -> None:
    config = small_plan(tmp_path).step("first").config
    assert isinstance(config, TrainConfig)
    found = settings(config)
    assert found["optim.learning_rate"] == 0.001
    assert found["duration.packs_per_step"] is None
    assert not [key for key, value in found.items() if "/" in str(value)]
    assert not {"data.num_workers", "monitor.logging_per_step", "checkpoint.keep_checkpoints", "stage"} & set(
        found
    )


def test_a_key_that_came_later_enters_only_where_it_says_something_new(tmp_path) -> None:
    """Or every run from before it would be refused by the code that has it."""
    config = small_plan(tmp_path).step("first").config
    assert isinstance(config, TrainConfig)
    changed = config.validating.model_copy(update={"hit_rate_per_step": 7, "export": "best"})
    found = settings(config.model_copy(update={"validating": changed, "add_think_pattern": True}))
    assert differences(settings(config), found) == [
        ("add_think_pattern", None, True),
        ("validating.export", None, "best"),
        ("validating.hit_rate_per_step", None, 7),
    ]


def test_differences_are_told_key_by_key() -> None:
    old, new = {"a": 1, "b": 2, "c": None}, {"a": 1, "b": 3, "d": [4]}
    assert differences(old, new) == [("b", 2, 3), ("d", None, [4])]


def test_sections_in_a_list_are_told_key_by_key_without_their_places(tmp_path) -> None:
    found = settings(small_plan(tmp_path).step("first").config)
    assert found["data.datasets.0.name"] == "mixed"
    assert found["data.datasets.0.validation_fraction"] == 0.0
    assert not [key for key in found if key.endswith("store_dir")]
