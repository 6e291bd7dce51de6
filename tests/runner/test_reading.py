"""How many steps a stage has is told as soon as its data is prepared."""

from __future__ import annotations

import pytest

from onerec.config import Mixture, TrainConfig
from runner.decide import Action
from runner.reading import Reading, reading_of
from tests.runner.sample import small_plan

MAX_LENGTH = 64
SUMMARY = {"packing": {"packs_per_epoch": 10, "max_length": MAX_LENGTH}}


@pytest.fixture
def config(tmp_path) -> TrainConfig:
    config = small_plan(tmp_path).step("first").config
    assert isinstance(config, TrainConfig)
    return changed(config, num_epochs=3, max_length=MAX_LENGTH)


def changed(config: TrainConfig, **data: object) -> TrainConfig:
    return config.model_copy(update={"data": config.data.model_copy(update=data)})


def limited(config: TrainConfig, **duration: object) -> TrainConfig:
    return config.model_copy(update={"duration": config.duration.model_copy(update=duration)})


def test_before_a_stage_has_begun_its_datasets_tell_about_how_long_it_is(config: TrainConfig) -> None:
    found = reading_of(config, action="start", account={}, summaries=[SUMMARY], ranks=4)
    assert found == Reading(total_packs=30, packs_per_step=4, total_steps=8, is_exact=False)
    assert str(found) == "about 8 steps of 4 packs; the data has about 30 packs"


def test_once_it_has_begun_its_own_record_is_exact(config: TrainConfig) -> None:
    account = {"total_packs": 31, "packs_per_step": 2}
    found = reading_of(config, action="continue", account=account, summaries=[SUMMARY], ranks=4)
    assert found == Reading(total_packs=31, packs_per_step=2, total_steps=16, is_exact=True)
    assert str(found) == "16 steps of 2 packs; the data has 31 packs"


def test_max_steps_ends_it_earlier_and_packs_per_step_go_before_ranks(config: TrainConfig) -> None:
    short = limited(config, max_steps=3, packs_per_step=5)
    found = reading_of(short, action="start", account={}, summaries=[SUMMARY], ranks=4)
    assert found == Reading(total_packs=30, packs_per_step=5, total_steps=3, is_exact=False)


@pytest.mark.parametrize(
    "summaries", [[], [{}], [{"packing": {"packs_per_epoch": None, "max_length": MAX_LENGTH}}]]
)
def test_without_prepared_data_nothing_is_told(config: TrainConfig, summaries: list) -> None:
    assert reading_of(config, action="start", account={}, summaries=summaries, ranks=4) is None


def test_a_mixture_that_changes_the_length_is_not_guessed(config: TrainConfig) -> None:
    mixed = changed(config, mixture=Mixture(epochs={"chat": 2.0}))
    assert reading_of(mixed, action="start", account={}, summaries=[SUMMARY], ranks=4) is None


def test_an_elastic_cluster_has_no_number_of_ranks_to_count_with(config: TrainConfig) -> None:
    assert reading_of(config, action="start", account={}, summaries=[SUMMARY], ranks=None) is None


@pytest.mark.parametrize("action", ["start", "drift"])
def test_the_record_of_an_attempt_that_does_not_go_on_is_not_believed(
    config: TrainConfig, action: Action
) -> None:
    account = {"total_packs": 31, "packs_per_step": 2}
    found = reading_of(config, action=action, account=account, summaries=[SUMMARY], ranks=4)
    assert found == Reading(total_packs=30, packs_per_step=4, total_steps=8, is_exact=False)


def test_the_record_of_a_stage_that_is_done_holds(config: TrainConfig) -> None:
    account = {"total_packs": 31, "packs_per_step": 2}
    found = reading_of(config, action="skip", account=account, summaries=[], ranks=None)
    assert found == Reading(total_packs=31, packs_per_step=2, total_steps=16, is_exact=True)


def test_a_summary_of_packs_of_another_size_tells_nothing(config: TrainConfig) -> None:
    longer = changed(config, max_length=2 * MAX_LENGTH)
    assert reading_of(longer, action="start", account={}, summaries=[SUMMARY], ranks=4) is None
