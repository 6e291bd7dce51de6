"""Killed anywhere in a save, a stage goes on and ends with the same bits as if it had never been killed."""

import json
import random
import signal
from pathlib import Path

import pytest

from onerec.checkpoint import commit
from onerec.checkpoint.crash_points import CRASH_POINTS
from onerec.checkpoint.state import load_state
from tests import tiny
from tests.checkpoint.attempts import Attempt, Kill, take

KILLED = -signal.SIGKILL
EVERY, CRASHED_STEP = 3, 6
SURVIVES = {"after rename", "before prune"}
"""Points at which the checkpoint that is being saved is complete."""
SEEDS, KILLS = range(6), 2


def config(folder, output_dir, *, every=EVERY, keep=2, **changes):
    return tiny.train_config(
        folder,
        output_dir,
        checkpoint={"save_checkpoint_per_step": every, "keep_checkpoints": keep},
        **changes,
    )


def final_bits(stage_dir):
    """Digests of everything that holds tensors in the newest checkpoint."""
    newest = commit.step_dir(stage_dir, commit.complete_steps(stage_dir)[-1])
    digests = json.loads((newest / commit.COMMIT_NAME).read_text())["sha256"]
    return {name: digest for name, digest in digests.items() if name.endswith(".distcp")}


def stretches(stage_dir):
    """How the newest checkpoint came to be: (attempt, first step, last step, first pack, end pack)."""
    newest = commit.step_dir(stage_dir, commit.complete_steps(stage_dir)[-1])
    return [
        (one.attempt, one.first_step, one.last_step, one.first_pack, one.end_pack)
        for one in load_state(newest).stretches
    ]


def assert_as_if_never_killed(stage, whole):
    assert tiny.curve(stage) == tiny.curve(whole)
    assert final_bits(Path(stage["output_dir"])) == final_bits(Path(whole["output_dir"]))
    told, expected = (stretches(Path(one["output_dir"])) for one in (stage, whole))
    assert [one[3] for one in told] == [0, *(one[4] for one in told[:-1])]
    assert (told[-1][2], told[-1][4]) == (expected[-1][2], expected[-1][4])
    leftovers = [path.name for path in Path(stage["output_dir"]).iterdir() if ".tmp" in path.name]
    assert leftovers == []


@pytest.fixture(scope="module")
def lived(tiny_programme, tmp_path_factory):
    """All stories of this file, lived through by one program; configs and exit codes by story."""
    home = tmp_path_factory.mktemp("crashes")

    def stage(name, **changes):
        return config(tiny_programme, home / name, **changes)

    stories = {
        "whole": [Attempt(stage("whole"))],
        "whole 2": [Attempt(stage("whole 2"), ranks=2)],
        "whole 1": [Attempt(stage("whole 1", every=1))],
    }
    for point in CRASH_POINTS:
        one = stage(point)
        stories[point] = [Attempt(one, kill=Kill(point, CRASHED_STEP)), Attempt(one)]
    for point in ("mid data", "before rename"):
        one = stage(f"{point} 2")
        stories[f"{point} 2"] = [Attempt(one, ranks=2, kill=Kill(point, CRASHED_STEP)), Attempt(one, ranks=2)]
    for seed in SEEDS:
        stories[f"seed {seed}"] = random_story(stage(f"seed {seed}", every=1), seed=seed)
    return stories, take(stories, home)


def random_story(one, *, seed):
    """Attempts killed at random moments, the last one left alone; it saves after every step."""
    pick = random.Random(seed)
    kills = [Kill(seconds=pick.uniform(0.1, 1.5)) for _ in range(KILLS)]
    return [*(Attempt(one, kill=kill) for kill in kills), Attempt(one)]


def was_killed(codes):
    """Whether rank 0 was killed and no other ended well: those are killed too, or see it gone and fail."""
    return codes[0] == KILLED and all(code in {KILLED, 1} for code in codes[1:])


def stage_of(stories, name):
    return stories[name][0].config


@pytest.mark.parametrize("point", CRASH_POINTS)
def test_killed_at_any_point_of_a_save_it_ends_as_if_never_killed(lived, point):
    stories, codes = lived
    assert codes[point] == [[KILLED], [0]]
    stage = stage_of(stories, point)
    assert_as_if_never_killed(stage, stage_of(stories, "whole"))
    went_on_after = CRASHED_STEP if point in SURVIVES else CRASHED_STEP - EVERY
    assert stretches(Path(stage["output_dir"]))[0][:3] == ("1", 0, went_on_after)


@pytest.mark.parametrize("point", ["mid data", "before rename"])
def test_two_ranks_of_which_one_is_killed_in_a_save_end_as_if_never_killed(lived, point):
    stories, codes = lived
    first, second = codes[f"{point} 2"]
    assert was_killed(first)
    assert second == [0, 0]
    assert_as_if_never_killed(stage_of(stories, f"{point} 2"), stage_of(stories, "whole 2"))


@pytest.mark.parametrize("seed", SEEDS)
def test_killed_at_random_moments_while_every_step_is_saved_it_ends_as_if_never_killed(lived, seed):
    stories, codes = lived
    assert codes[f"seed {seed}"][-1] == [0]
    assert_as_if_never_killed(stage_of(stories, f"seed {seed}"), stage_of(stories, "whole 1"))


def test_the_random_kills_are_kills(lived):
    _, codes = lived
    killed = [code for seed in SEEDS for code in codes[f"seed {seed}"] if code == [KILLED]]
    assert len(killed) >= len(SEEDS)


def test_an_attempt_that_fails_by_itself_ends_its_story(tiny_programme, tmp_path):
    sound = config(tiny_programme, tmp_path / "stage")
    broken = {**sound, "model": {"model_dir": str(tmp_path / "nowhere")}}
    stories = {
        "to be killed": [Attempt(broken, kill=Kill(seconds=60.0)), Attempt(sound)],
        "left alone": [Attempt(broken), Attempt(sound)],
    }
    assert take(stories, tmp_path) == {"to be killed": [[2]], "left alone": [[2]]}


@pytest.mark.slow
def test_fifty_seeds_corrupt_nothing(tiny_programme, tmp_path):
    whole = config(tiny_programme, tmp_path / "whole", every=1)
    stories = {"whole": [Attempt(whole)]}
    for seed in range(1000, 1050):
        stories[str(seed)] = random_story(config(tiny_programme, tmp_path / str(seed), every=1), seed=seed)
    codes = take(stories, tmp_path)
    assert sum(code == [KILLED] for story in codes.values() for code in story) > 50
    for name, attempts in stories.items():
        assert codes[name][-1] == [0], name
        assert_as_if_never_killed(attempts[0].config, whole)
