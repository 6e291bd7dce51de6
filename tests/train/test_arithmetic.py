"""One loss and one gradient, however the packs of a step lie on ranks, micro-steps and each other.

Every step is taken by real gloo ranks through the session, loader and stepper of training. What is right is
told by transformers' own model: one document at a time, full logits, one plain mean.
"""

import pytest
import torch
from safetensors.torch import load_file
from transformers import Qwen3ForCausalLM

from onerec.config import ExpandVocabConfig, Vocab
from onerec.data.store.store import Store
from onerec.data.text.label import labels_of
from onerec.model.expand import expand_vocab
from tests import tiny
from tests.train.ranks import Case, take_steps

CLOSE = 1e-6
"""Greatest relative distance of a gradient from what it should be, in fp32."""
EPOCH = 28
"""Packs of a step that holds all of the data; those that there are not are fillers."""
WIDE_ROWS = 176_384


@pytest.fixture(scope="module")
def wide(tiny_programme, tmp_path_factory):
    """The tiny model with as many rows as Qwen3 has after the expansion."""
    folder = tmp_path_factory.mktemp("wide")
    sizes = tiny.VOCAB.model_dump() | {"alignment": WIDE_ROWS}
    expand_vocab(
        ExpandVocabConfig(
            output_dir=str(folder),
            seed=3,
            base_model_dir=str(tiny_programme / "base" / "model"),
            model_class="Qwen3ForCausalLM",
            vocab=Vocab(**sizes),
        )
    )
    return folder / "model"


@pytest.fixture(scope="module")
def cases(tiny_programme, tiny_untied, wide):
    """The steps to take."""

    def case(name, folder=tiny_programme, trained=None, **changes):
        changes = {"optim": {"max_grad_norm": 0.0}, "duration": {"packs_per_step": EPOCH}, **changes}
        return Case(name, tiny.train_config(folder, folder / "unused", **changes), trained)

    rows = {"trainable": {"freeze_llm": True}}
    return [
        case("tied"),
        case("untied", tiny_untied),
        case("packed otherwise", data={"max_length": 2 * tiny.MAX_LENGTH, "shuffle_seed": 6}),
        case("clipped", optim={"max_grad_norm": 0.01}),
        case("rows", **rows),
        case("rows untied", tiny_untied, **rows),
        case("four packs", duration={"packs_per_step": 4}),
        case("nine to one", duration={"packs_per_step": 2}, trained=(36, 4)),
        case("wide", model={"model_dir": str(wide)}, duration={"packs_per_step": 3}),
    ]


@pytest.fixture(scope="module")
def taken(cases, tmp_path_factory):
    """What each step came to, by ranks and name; the wide table is cut by no more than three."""
    chosen = {
        ranks: [case for case in cases if case.name != "wide" or ranks in {1, 3}] for ranks in (1, 2, 3, 4)
    }
    return take_steps(chosen, tmp_path_factory.mktemp("ranks"))


@pytest.fixture(scope="module")
def plain(tiny_programme, tiny_untied):
    """Loss and gradients of one mean over all trained tokens of the store, by transformers' own model."""
    return {"tied": plain_step(tiny_programme), "untied": plain_step(tiny_untied)}


def plain_step(folder):
    """(loss, gradients by name) in double precision."""
    model = Qwen3ForCausalLM.from_pretrained(folder / "expanded" / "model", dtype=torch.float64)
    store, losses = Store(folder / "store"), []
    for number in range(len(store)):
        sample = store.sample(number)
        ids = torch.tensor(sample.input_ids.tolist())
        labels = torch.tensor(labels_of(sample.input_ids, sample.spans).tolist())
        logits = model(input_ids=ids[None]).logits[0]
        losses.append(torch.nn.functional.cross_entropy(logits, labels, reduction="none")[labels != -100])
    loss = torch.cat(losses).mean()
    loss.backward()
    return loss.item(), {name: parameter.grad for name, parameter in model.named_parameters()}


def distance(gradients, expected):
    """Relative distance of two gradients, over all parameters together and of the worst parameter."""
    assert set(gradients) == set(expected)
    apart = {name: norm_of([gradients[name] - tensor]) for name, tensor in expected.items()}
    whole = norm_of(expected.values())
    worst = max(apart[name] / norm_of([tensor]) for name, tensor in expected.items())
    return norm_of([torch.tensor(list(apart.values()))]) / whole, worst


def norm_of(tensors):
    return float(torch.cat([tensor.double().flatten() for tensor in tensors]).norm())


RANKS = pytest.mark.parametrize("ranks", [1, 2, 3, 4])


@RANKS
@pytest.mark.parametrize("case", ["tied", "untied", "packed otherwise"])
def test_loss_gradient_and_norm_are_the_plain_models_on_any_ranks_and_in_any_packing(
    taken, plain, case, ranks
):
    step = taken[ranks][case]
    loss, gradients = plain["untied" if case == "untied" else "tied"]
    assert step.micro_steps == -(-EPOCH // ranks)
    assert step.loss == pytest.approx(loss, rel=CLOSE)
    assert max(distance(step.gradients, gradients)) < CLOSE
    assert step.grad_norm == pytest.approx(norm_of(gradients.values()), rel=CLOSE)


def test_packing_otherwise_is_another_packing_of_the_same_tokens(taken):
    """Else the test above would compare a step with itself."""
    one, other = taken[1]["tied"], taken[1]["packed otherwise"]
    assert one.trained_tokens == other.trained_tokens > 1000
    assert any(not torch.equal(one.gradients[name], other.gradients[name]) for name in one.gradients)


@pytest.mark.parametrize(("ranks", "micro_steps"), [(2, 2), (4, 1)])
def test_four_packs_are_one_step_however_ranks_share_them(taken, ranks, micro_steps):
    one, step = taken[1]["four packs"], taken[ranks]["four packs"]
    assert (one.micro_steps, step.micro_steps) == (4, micro_steps)
    assert step.loss == pytest.approx(one.loss, rel=CLOSE)
    assert max(distance(step.gradients, one.gradients)) < CLOSE


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_a_rank_with_a_tenth_of_the_trained_tokens_has_a_tenth_of_the_say(taken, ranks):
    one, step = taken[1]["nine to one"], taken[ranks]["nine to one"]
    assert step.trained_tokens == one.trained_tokens == 40
    assert step.loss == pytest.approx(one.loss, rel=CLOSE)
    assert max(distance(step.gradients, one.gradients)) < CLOSE


@RANKS
def test_clipping_scales_every_gradient_and_tells_the_norm_before(taken, plain, ranks):
    step, (_, gradients) = taken[ranks]["clipped"], plain["tied"]
    norm = norm_of(gradients.values())
    assert norm > 0.1
    assert step.grad_norm == pytest.approx(norm, rel=CLOSE)
    clipped = {name: gradient * 0.01 / norm for name, gradient in gradients.items()}
    # torch divides by the norm + 1e-6
    assert max(distance(step.gradients, clipped)) < CLOSE + 1e-6 / norm


@RANKS
@pytest.mark.parametrize("case", ["rows", "rows untied"])
def test_stage_one_has_the_rows_of_the_plain_gradient_and_no_frozen_row_in_its_norm(
    taken, plain, case, ranks
):
    step, tied = taken[ranks][case], case == "rows"
    loss, gradients = plain["tied" if tied else "untied"]
    tables = ["model.embed_tokens", *([] if tied else ["lm_head"])]
    expected = {}
    for table in tables:
        rows = step.weights[f"{table}.itemic_rows"].shape[0]
        expected[f"{table}.itemic_rows"] = gradients[f"{table}.weight"][-rows:]
    assert step.loss == pytest.approx(loss, rel=CLOSE)
    assert max(distance(step.gradients, expected)) < CLOSE
    assert step.grad_norm == pytest.approx(norm_of(expected.values()), rel=CLOSE)
    assert step.grad_norm < 0.9 * norm_of(gradients.values())


def test_three_ranks_train_every_row_of_a_tied_table_of_176384(taken, wide):
    name = "model.embed_tokens.weight"
    before_VD = load_file(wide / "model.safetensors")[name]
    one_VD, three_VD = (taken[ranks]["wide"].weights[name] for ranks in (1, 3))
    assert before_VD.shape[0] == WIDE_ROWS
    assert WIDE_ROWS % 3  # shards of 58,795, 58,795 and 58,794 rows
    assert (three_VD != before_VD).any(dim=1).all()
    moved_V = (three_VD - before_VD).norm(dim=1)
    apart_V = (three_VD - one_VD).norm(dim=1)
    assert float((apart_V / moved_V).max()) < 1e-3
    # 5.6 million squares are summed in fp32, in another order by every number of ranks
    exact = norm_of(taken[3]["wide"].gradients.values())
    assert taken[3]["wide"].grad_norm == pytest.approx(exact, rel=1e-5)


@RANKS
def test_an_update_that_is_told_to_be_bad_leaves_weights_moments_and_counts(taken, ranks):
    assert [step.changed_by_a_bad_step for step in taken[ranks].values() if step.changed_by_a_bad_step] == []
