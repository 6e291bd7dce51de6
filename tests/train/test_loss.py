"""The chunked LM-head loss equals plain cross-entropy, in value and in every gradient, within its bounds."""

import pytest
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import Qwen3Config, Qwen3ForCausalLM

from onerec.model.attention import register_document_attention
from onerec.train import loss as loss_module
from onerec.train.loss import PackedLanguageModel, chunk_rows, head_loss

N, D, V = 37, 16, 53
HAS_FUSED = hasattr(functional, "linear_cross_entropy")
PRODUCTS = ("mm", "addmm", "addmm_", "bmm", "baddbmm")
MIB = 1 << 20


def inputs(dtype=torch.float64, seed=0, *, positions=N, rows=V, width=D):
    generator = torch.Generator().manual_seed(seed)
    hidden_ND = torch.randn(positions, width, generator=generator, dtype=torch.float64).to(dtype)
    weight_VD = torch.randn(rows, width, generator=generator, dtype=torch.float64).to(dtype)
    labels_N = torch.randint(0, rows, (positions,), generator=generator)
    return hidden_ND.requires_grad_(), weight_VD.requires_grad_(), labels_N


def plain(hidden_ND, weight_VD, labels_N, scale):
    losses_N = functional.cross_entropy(functional.linear(hidden_ND, weight_VD), labels_N, reduction="none")
    (losses_N.sum() * scale).backward()
    return losses_N.detach(), hidden_ND.grad, weight_VD.grad


class Watch(TorchDispatchMode):
    """Notes every matrix product by the sizes of its factors, and the bytes of the largest new tensor."""

    def __init__(self):
        super().__init__()
        self.products, self.largest = [], 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ in PRODUCTS:
            left, right = [each for each in args if isinstance(each, torch.Tensor)][-2:]
            self.products.append((*left.shape, right.shape[1]))
        given = {each.untyped_storage()._cdata for each in args if isinstance(each, torch.Tensor)}
        if isinstance(made, torch.Tensor) and made.untyped_storage()._cdata not in given:
            self.largest = max(self.largest, made.untyped_storage().nbytes())
        return made


@pytest.mark.parametrize("minibatch_size", [None, 1, 5, 37, 1000])
def test_any_chunk_gives_the_losses_and_gradients_of_plain_cross_entropy(minibatch_size):
    hidden_ND, weight_VD, labels_N = inputs(torch.float32)
    expected = plain(*inputs(torch.float32), scale=0.03)
    loss, losses_N = head_loss(hidden_ND, weight_VD, labels_N, minibatch_size=minibatch_size, scale=0.03)
    loss.backward()
    torch.testing.assert_close(losses_N, expected[0], rtol=1e-6, atol=1e-6)
    for ours, theirs in zip((hidden_ND.grad, weight_VD.grad), expected[1:], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("frozen", [0, 1, 30, V - 1])
@pytest.mark.parametrize("minibatch_size", [None, 8])
def test_frozen_rows_take_part_in_the_loss_and_get_no_gradient(frozen, minibatch_size):
    hidden_ND, weight_VD, labels_N = inputs(torch.float32)
    labels_N[:4] = torch.tensor([0, V - 1, frozen, max(frozen - 1, 0)])
    expected = plain(*inputs(torch.float32)[:2], labels_N, scale=0.03)
    frozen_FD = weight_VD[:frozen].detach()
    trained_RD = weight_VD[frozen:].detach().requires_grad_()
    loss, losses_N = head_loss(
        hidden_ND, trained_RD, labels_N, frozen_FD=frozen_FD, minibatch_size=minibatch_size, scale=0.03
    )
    loss.backward()
    torch.testing.assert_close(losses_N, expected[0], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(hidden_ND.grad, expected[1], rtol=0, atol=1e-6)
    torch.testing.assert_close(trained_RD.grad, expected[2][frozen:], rtol=0, atol=1e-6)
    assert frozen_FD.grad is None


@pytest.mark.parametrize("frozen", [0, 1, 4, 8])
def test_gradient_agrees_with_finite_differences(frozen):
    hidden_ND, weight_VD, labels_N = inputs()
    hidden, weight = hidden_ND[:5].detach().requires_grad_(), weight_VD[frozen:9].detach().requires_grad_()
    frozen_FD = weight_VD[:frozen].detach() if frozen else None

    def loss(hidden_ND, weight_RD):
        return head_loss(hidden_ND, weight_RD, labels_N[:5] % 9, frozen_FD=frozen_FD, minibatch_size=2)[0]

    torch.autograd.gradcheck(loss, (hidden, weight))


@pytest.mark.skipif(not HAS_FUSED, reason="torch before 2.13 has no linear_cross_entropy")
@pytest.mark.parametrize("reduction", ["none", "sum"])
def test_losses_and_gradients_are_those_of_torchs_own_fused_loss(reduction):
    hidden_ND, weight_VD, labels_N = inputs(torch.float32)
    options = torch.nn.LinearCrossEntropyOptions(batch_chunk_size=8, acc_policy="compact")
    theirs = functional.linear_cross_entropy(
        hidden_ND, weight_VD, labels_N, reduction=reduction, options=options
    )
    (theirs.sum() * 0.03).backward()
    expected = hidden_ND.grad, weight_VD.grad
    hidden_ND, weight_VD, _ = inputs(torch.float32)
    loss, losses_N = head_loss(hidden_ND, weight_VD, labels_N, minibatch_size=8, scale=0.03)
    loss.backward()
    ours = losses_N if reduction == "none" else losses_N.sum()
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-6, atol=1e-6)
    for gradient, other in zip((hidden_ND.grad, weight_VD.grad), expected, strict=True):
        torch.testing.assert_close(gradient, other, rtol=0, atol=1e-6)


def test_nothing_trained_is_a_loss_of_zero_with_zero_gradients():
    hidden_ND, weight_VD, _ = inputs(torch.float32)
    loss, losses_N = head_loss(hidden_ND[:0], weight_VD, torch.zeros(0, dtype=torch.int64), minibatch_size=4)
    loss.backward()
    assert loss.item() == 0.0
    assert losses_N.shape == (0,)
    assert not weight_VD.grad.any()


def test_an_upstream_gradient_scales_everything():
    hidden_ND, weight_VD, labels_N = inputs(torch.float32)
    expected = plain(*inputs(torch.float32), scale=0.06)
    (head_loss(hidden_ND, weight_VD, labels_N, minibatch_size=8, scale=0.02)[0] * 3).backward()
    torch.testing.assert_close(hidden_ND.grad, expected[1], rtol=0, atol=1e-6)
    torch.testing.assert_close(weight_VD.grad, expected[2], rtol=0, atol=1e-6)


def test_a_second_backward_pass_gives_the_same_gradients_again():
    hidden_ND, weight_VD, labels_N = inputs(torch.float32)
    loss, _ = head_loss(hidden_ND, weight_VD, labels_N, minibatch_size=8)
    loss.backward(retain_graph=True)
    once = weight_VD.grad.clone()
    loss.backward()
    assert torch.equal(weight_VD.grad, 2 * once)


def test_losses_stay_finite_where_the_probability_of_the_label_underflows():
    hidden_ND, weight_VD, labels_N = inputs(torch.float32)
    loss, losses_N = head_loss(hidden_ND * 40, weight_VD, labels_N, minibatch_size=8)
    expected = functional.cross_entropy(40 * hidden_ND @ weight_VD.T, labels_N, reduction="none")
    assert losses_N.max() > 150
    torch.testing.assert_close(losses_N, expected.detach(), rtol=1e-5, atol=1e-4)
    assert torch.isfinite(loss)


@pytest.mark.parametrize("frozen", [0, 100])
def test_16_bit_inputs_lose_no_more_than_the_rounding_of_the_finished_gradients(frozen):
    shape = {"positions": 2048, "rows": 200, "width": 32}
    exact = plain(*as_double(shape), scale=1.0)
    hidden_ND, weight_VD, labels_N = inputs(torch.bfloat16, **shape)
    trained_RD = weight_VD[frozen:].detach().requires_grad_()
    loss, losses_N = head_loss(
        hidden_ND, trained_RD, labels_N, frozen_FD=weight_VD[:frozen].detach(), minibatch_size=16
    )
    loss.backward()
    torch.testing.assert_close(losses_N.double(), exact[0], rtol=1e-6, atol=1e-5)
    for gradient, expected in ((hidden_ND.grad, exact[1]), (trained_RD.grad, exact[2][frozen:])):
        rounding = (expected.bfloat16().double() - expected).norm()
        assert (gradient.double() - expected).norm() < 1.5 * rounding


def as_double(shape):
    hidden_ND, weight_VD, labels_N = inputs(torch.bfloat16, **shape)
    return (
        hidden_ND.detach().double().requires_grad_(),
        weight_VD.detach().double().requires_grad_(),
        labels_N,
    )


def test_a_nearly_certain_16_bit_label_keeps_its_slope():
    hidden_ND = torch.ones(3, 4, dtype=torch.bfloat16, requires_grad=True)
    weight_VD = torch.tensor([[2.0] * 4, [0.0] * 4], dtype=torch.bfloat16)
    head_loss(hidden_ND, weight_VD, torch.zeros(3, dtype=torch.int64), minibatch_size=2)[0].backward()
    expected = 2 * (torch.sigmoid(torch.tensor(8.0, dtype=torch.float64)) - 1)
    torch.testing.assert_close(hidden_ND.grad.double(), expected.expand(3, 4), rtol=0.01, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_tensor_is_larger_than_a_chunk_of_logits_or_the_weight(dtype):
    shape = {"positions": 400, "rows": 640, "width": 8}
    hidden_ND, weight_VD, labels_N = inputs(dtype, **shape)
    with Watch() as watch:
        head_loss(hidden_ND, weight_VD, labels_N, minibatch_size=20)[0].backward()
    assert watch.largest == 20 * 640 * 4


def test_a_chunk_takes_three_matrix_products():
    hidden_ND, weight_VD, labels_N = inputs(torch.float32)
    with Watch() as watch:
        head_loss(hidden_ND, weight_VD, labels_N, minibatch_size=10)[0].backward()
    chunks = [(rows, D, V) for rows in (10, 10, 10, 7)]
    assert watch.products == [
        product for rows, *_ in chunks for product in ((rows, D, V), (rows, V, D), (V, rows, D))
    ]


def test_frozen_rows_cost_no_product_for_a_weight_gradient():
    hidden_ND, weight_VD, labels_N = inputs(torch.float32)
    trained_RD = weight_VD[30:].detach().requires_grad_()
    with Watch() as watch:
        head_loss(hidden_ND, trained_RD, labels_N, frozen_FD=weight_VD[:30].detach(), minibatch_size=N)[
            0
        ].backward()
    assert watch.products == [(N, D, 30), (N, D, 23), (N, 30, D), (N, 23, D), (23, N, D)]


def test_without_gradients_a_chunk_takes_one_product():
    hidden_ND, weight_VD, labels_N = inputs(torch.float32)
    with torch.no_grad(), Watch() as watch:
        head_loss(hidden_ND, weight_VD, labels_N, minibatch_size=N)
    assert watch.products == [(N, D, V)]


def test_backward_makes_no_copy_of_the_gradients_for_an_upstream_of_one():
    hidden_ND, weight_VD, labels_N = inputs(torch.float32)
    loss, _ = head_loss(hidden_ND, weight_VD, labels_N, minibatch_size=8)
    with Watch() as watch:
        loss.backward()
    assert watch.largest < 4 * D * V


@pytest.mark.parametrize(
    ("positions", "row_bytes", "minibatch_size", "rows"),
    [
        (32_768, 4 * 176_384, 16_384, 1024),  # 700 MiB of logits
        (32_768, 4 * 176_384, 512, 512),
        (300, 4 * 176_384, 16_384, 300),
        (32_768, 8 * 176_384, 16_384, 512),
        (32_768, 6 * MIB, 16_384, 116),  # less than a tile: what fits
        (32_768, 800 * MIB, 16_384, 1),
        (32_768, 4 * 1000, 16_384, 16_384),
        (32_768, 4 * 176_384, None, 32_768),
        (0, 4 * 176_384, 16_384, 1),
        (0, 4 * 176_384, None, 1),
    ],
)
def test_a_chunk_is_what_memory_and_the_manifest_allow(positions, row_bytes, minibatch_size, rows):
    assert chunk_rows(positions, row_bytes=row_bytes, minibatch_size=minibatch_size) == rows


def test_chunks_by_memory_change_no_result(monkeypatch):
    hidden_ND, weight_VD, labels_N = inputs(torch.float32)
    whole = head_loss(hidden_ND, weight_VD, labels_N, minibatch_size=1000)
    monkeypatch.setattr(loss_module, "LOGITS_BYTES", 4 * V * 5)
    with Watch() as watch:
        parts = head_loss(hidden_ND, weight_VD, labels_N, minibatch_size=1000)
    assert len(watch.products) == 3 * 8
    for part, expected in zip(parts, whole, strict=True):
        torch.testing.assert_close(part, expected, rtol=1e-6, atol=1e-6)


def small_model(*, tied):
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=64,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=48,
        tie_word_embeddings=tied,
    )
    return Qwen3ForCausalLM(config)


def pack_of(ids_T, trained_N, labels_N):
    length = len(ids_T)
    return {
        "input_ids_T": ids_T,
        "position_ids_T": torch.arange(length),
        "cu_seqlens": torch.tensor([0, length], dtype=torch.int32),
        "max_seqlen": length,
        "trained_N": trained_N,
        "labels_N": labels_N,
    }


@pytest.mark.parametrize("tied", [True, False])
def test_model_and_loss_together_are_transformers_own_with_labels(tied):
    generator = torch.Generator().manual_seed(1)
    ids_T = torch.randint(0, 64, (40,), generator=generator)
    labels_T = torch.where(torch.rand(40, generator=generator) < 0.5, ids_T, -100)
    theirs, ours = small_model(tied=tied), small_model(tied=tied)
    expected = theirs(input_ids=ids_T[None], labels=labels_T[None]).loss
    expected.backward()
    # transformers shifts: position i predicts label i + 1
    trained_N = (labels_T[1:] >= 0).nonzero()[:, 0]
    ours.set_attn_implementation(register_document_attention())
    packed = PackedLanguageModel(ours, minibatch_size=7)
    made = packed(**pack_of(ids_T, trained_N, labels_T[1:][trained_N]), scale=1 / len(trained_N))
    made.loss.backward()
    torch.testing.assert_close(made.loss, expected, rtol=1e-6, atol=1e-6)
    gradients = dict(ours.named_parameters())
    for name, parameter in theirs.named_parameters():
        torch.testing.assert_close(gradients[name].grad, parameter.grad, rtol=0, atol=1e-6, msg=name)


def test_two_packs_accumulate_to_what_one_pack_gives():
    hidden_ND, weight_VD, labels_N = inputs(torch.float32)
    head_loss(hidden_ND, weight_VD, labels_N, minibatch_size=8, scale=1 / N)[0].backward()
    halves = inputs(torch.float32)
    for part in (slice(0, 11), slice(11, N)):
        head_loss(halves[0][part], halves[1], labels_N[part], minibatch_size=8, scale=1 / N)[0].backward()
    torch.testing.assert_close(halves[0].grad, hidden_ND.grad, rtol=0, atol=1e-6)
    torch.testing.assert_close(halves[1].grad, weight_VD.grad, rtol=0, atol=1e-6)
