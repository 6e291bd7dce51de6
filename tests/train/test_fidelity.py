"""Our training is the training that anybody would write: the same losses, gradient norms, weights and logits.

A stage of the real program, with packs, a store, FSDP and its own loss, is held against `naive_loop`, which
shares no code with it: 50 steps of four packs, warm-up, cosine and floor, clipping, weight decay.
"""

import dataclasses
import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.distributed.tensor import DTensor
from torch.nn.functional import cross_entropy
from transformers import AutoTokenizer, Qwen3ForCausalLM

from onerec.config import TrainConfig
from onerec.data.loading.load import PackLoader
from onerec.distributed import choose_device, process_group, read_world
from onerec.train.session import open_session
from tests import tiny
from tests.train import naive_loop
from tests.train.naive_loop import Recipe

STEPS, PACKS_PER_STEP, EPOCHS = 50, 4, 8
FULL = Recipe(
    learning_rate=0.01,
    min_lr=0.001,
    num_warmup_steps=5,
    num_training_steps=40,
    weight_decay=0.1,
    beta1=0.9,
    beta2=0.95,
    max_grad_norm=1.3,
)
ROWS = dataclasses.replace(FULL, learning_rate=0.05, max_grad_norm=0.3)
STORED_CURVE = Path(__file__).with_name("loss_curve.json")


@dataclasses.dataclass(frozen=True)
class Case:
    """One way to train."""

    tied: bool
    freeze_llm: bool

    @property
    def recipe(self) -> Recipe:
        return ROWS if self.freeze_llm else FULL

    def __str__(self) -> str:
        return f"{'tied' if self.tied else 'untied'}-{'stage1' if self.freeze_llm else 'full'}"


CASES = [Case(tied, freeze_llm) for freeze_llm in (False, True) for tied in (True, False)]


class Stages:
    """Stages trained by our program, each when it is first asked for."""

    def __init__(self, folders, output_dir):
        self.folders, self.output_dir, self.configs = folders, output_dir, {}

    def folder(self, case):
        return self.folders[case.tied]

    def trained(self, case, *, again=False):
        """The config of a stage that was trained to its end."""
        name = f"{case}{'-again' if again else ''}"
        if name not in self.configs:
            config = tiny.train_config(
                self.folder(case),
                self.output_dir / name,
                data={"num_epochs": EPOCHS},
                optim=dataclasses.asdict(case.recipe),
                trainable={"freeze_llm": case.freeze_llm},
                checkpoint={"save_checkpoint_per_step": STEPS},
                duration={"packs_per_step": PACKS_PER_STEP},
            )
            tiny.run(config)
            self.configs[name] = config
        return self.configs[name]


@pytest.fixture(scope="module")
def stages(tiny_programme, tiny_untied, tmp_path_factory):
    return Stages({True: tiny_programme, False: tiny_untied}, tmp_path_factory.mktemp("fidelity"))


def packs_by_step(config):
    """The packs of every step, in the loader's order."""
    data = TrainConfig.model_validate_json(json.dumps(config)).data
    loader = PackLoader(data, rank=0, world_size=1, packs_per_step=PACKS_PER_STEP, pad_to=None)
    return [step.packs for step in loader]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_fifty_steps_are_those_of_a_plain_loop_over_single_samples(stages, case):
    config, folder = stages.trained(case), stages.folder(case)
    model_dir = folder / "expanded" / "model"
    samples = naive_loop.read_samples(folder / "data", model_dir)
    order = [[uuid for pack in packs for uuid in pack.uuids] for packs in packs_by_step(config)]
    curve, weights = naive_loop.train(
        model_dir,
        [[samples[uuid] for uuid in uuids] for uuids in order],
        recipe=case.recipe,
        first_row=first_itemic_row(model_dir) if case.freeze_llm else None,
    )
    ours = tiny.curve(config)
    assert [row[0] for row in ours] == [row[0] for row in curve] == list(range(1, STEPS + 1))
    assert [row[1] for row in ours] == pytest.approx([row[1] for row in curve], rel=1e-5)
    assert [row[2] for row in ours] == pytest.approx([row[2] for row in curve], rel=1e-4)
    norms = [row[2] for row in curve]
    assert min(norms) < case.recipe.max_grad_norm < max(norms), "some steps are clipped, others not"
    assert [row["learning_rate"] for row in tiny.metrics(config)] == pytest.approx(
        [case.recipe.rate(step) for step in range(1, STEPS + 1)]
    )
    exported = load_file(tiny.export(config, folder) / "model.safetensors")
    assert set(exported) == set(weights) - ({"lm_head.weight"} if case.tied else set())
    for name, tensor in exported.items():
        # a step moves a weight by up to 0.01; Adam makes noise of rounding out of gradients near zero
        torch.testing.assert_close(tensor, weights[name], rtol=0, atol=1e-4, msg=name)


def first_itemic_row(model_dir):
    return AutoTokenizer.from_pretrained(model_dir).convert_tokens_to_ids("<s_a_0>")


def test_every_trained_label_is_that_of_the_plain_loop(stages):
    folder = stages.folder(CASES[0])
    samples = naive_loop.read_samples(folder / "data", folder / "expanded" / "model")
    for packs in packs_by_step(stages.trained(CASES[0]))[:10]:
        for pack in packs:
            rows = [samples[uuid] for uuid in pack.uuids]
            assert torch.equal(pack.input_ids_T, torch.cat([row.input_ids_T for row in rows]))
            assert torch.equal(pack.labels_T, torch.cat([row.labels_T for row in rows]))


def test_the_loss_curve_is_the_stored_one(stages):
    """A machine with other kernels sums in another order.

    That of the plain loop moves losses by 6e-7 and norms by 6e-5 in 50 steps, a real change by 1e-3 and more.
    """
    curve = tiny.curve(stages.trained(CASES[0]))
    if os.environ.get("UPDATE_GOLDEN"):
        lines = [json.dumps(dict(zip(("step", "loss", "grad_norm"), row, strict=True))) for row in curve]
        STORED_CURVE.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")
    stored = json.loads(STORED_CURVE.read_text(encoding="utf-8"))
    assert [row[0] for row in curve] == [row["step"] for row in stored]
    assert [row[1] for row in curve] == pytest.approx([row["loss"] for row in stored], rel=1e-4)
    assert [row[2] for row in curve] == pytest.approx([row["grad_norm"] for row in stored], rel=2e-3)


def test_a_second_run_on_the_same_machine_is_bit_identical(stages):
    first, second = stages.trained(CASES[0]), stages.trained(CASES[0], again=True)
    assert tiny.curve(second) == tiny.curve(first)
    assert exported_bytes(second, stages) == exported_bytes(first, stages)


def exported_bytes(config, stages):
    return (tiny.export(config, stages.folder(CASES[0])) / "model.safetensors").read_bytes()


@pytest.mark.parametrize("case", [CASES[0], CASES[3]], ids=str)
def test_logits_and_losses_of_a_pack_are_those_of_transformers_on_the_exported_folder(stages, alone, case):
    config = stages.trained(case)
    theirs = Qwen3ForCausalLM.from_pretrained(tiny.export(config, stages.folder(case)), dtype=torch.float32)
    pack = max(packs_by_step(config)[0], key=lambda pack: pack.samples)
    assert pack.samples > 1
    logits_TV, losses_N = logits_and_losses(config, pack, world=alone)
    expected_TV = torch.cat([logits_of(theirs, ids_T) for ids_T in documents(pack)])
    torch.testing.assert_close(logits_TV, expected_TV, rtol=1e-5, atol=1e-5)
    expected_T = cross_entropy(expected_TV, pack.labels_T, reduction="none")
    torch.testing.assert_close(losses_N, expected_T[pack.labels_T != -100], rtol=1e-5, atol=1e-5)


def documents(pack):
    return pack.input_ids_T.split(pack.cu_seqlens.diff().tolist())


@torch.no_grad()
def logits_of(model, ids_T):
    return model(input_ids=ids_T[None]).logits[0]


@pytest.fixture
def alone():
    """A process group of this process, which the model's shards need."""
    world = read_world({})
    try:
        with process_group(world, device=choose_device(world), env={}):
            yield world
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


@torch.no_grad()
def logits_and_losses(config, pack, *, world):
    """Logits and losses of a pack in the model that a finished stage would go on with."""
    settings = TrainConfig.model_validate_json(json.dumps(config))
    model = open_session(settings, world=world, device=choose_device(world)).model
    hidden = []
    model.lm.model.register_forward_hook(lambda _module, _given, out: hidden.append(out.last_hidden_state[0]))
    result = model(
        pack.input_ids_T,
        position_ids_T=pack.position_ids_T,
        cu_seqlens=pack.cu_seqlens,
        max_seqlen=pack.max_seqlen,
        trained_N=pack.trained_N,
        labels_N=pack.trained_labels_N,
        scale=1.0,
    )
    return hidden[0] @ head_weight(model.lm.lm_head).T, result.losses_N


def head_weight(head):
    """All rows of a head, those of stage 1 in their places."""
    weight_VD, rows_RD = whole(head.weight), whole(getattr(head, "itemic_rows", head.weight[:0]))
    return torch.cat([weight_VD[: len(weight_VD) - len(rows_RD)], rows_RD])


def whole(tensor):
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
