"""FLOP of a step against numbers counted by hand and by torch, and the peaks of real GPUs by their names."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import Qwen3Config

from onerec.config import Compute, Trainable
from onerec.distributed import World
from onerec.model.build import build_model
from onerec.train.flops import decoder_matmul_parameters, peak_of, peak_of_ranks, step_flop
from onerec.train.loss import PackedLanguageModel

SIZES = {
    "vocab_size": 100,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "intermediate_size": 16,
}
SMALL = Qwen3Config(**SIZES)
HEAD = 100 * 8
LENGTHS = (30, 20)
FIRST_ROW = 90
CUDA = torch.device("cuda", 0)


def test_matrices_of_the_decoder_are_counted_once_each():
    q, k, v, o = 8 * 16, 8 * 8, 8 * 8, 16 * 8
    assert decoder_matmul_parameters(SMALL) == 2 * (q + k + v + o + 3 * 8 * 16)


def test_a_full_step_counts_six_per_weight_and_half_of_the_attention_square():
    weights = decoder_matmul_parameters(SMALL) + HEAD
    squares = 30**2 + 20**2
    counted = step_flop(SMALL, tokens=50, trained_tokens=7, squared_lengths=squares)
    assert counted == 6 * weights * 50 + 12 * 2 * 4 * 4 * squares / 2


def test_stage_one_needs_weight_gradients_of_the_new_rows_only_and_the_head_where_it_is_trained():
    counted = step_flop(SMALL, tokens=50, trained_tokens=7, squared_lengths=30**2, trained_rows=10)
    decoder, attention = 4 * decoder_matmul_parameters(SMALL) * 50, 12 * 2 * 4 * 4 * 30**2 / 2
    assert counted == decoder + (4 * HEAD + 2 * 10 * 8) * 7 + attention


def added_in_place(_, left_shape, right_shape, **__):
    """FLOP of a product that is added to what is there, which torch's counter does not know."""
    return 2 * left_shape[0] * left_shape[1] * right_shape[1]


def multiplied(*, tied, freeze_llm, trained_tokens):
    """FLOP of all matrix products of a real forward and backward pass, as torch counts them."""
    config = Qwen3Config(**SIZES, tie_word_embeddings=tied)
    lm = build_model(
        config,
        trainable=Trainable(freeze_llm=freeze_llm),
        compute=Compute(enable_gradient_checkpointing=False),
        first_itemic_id=FIRST_ROW,
    )
    lm.to_empty(device="cpu")
    lm.model.rotary_emb = type(lm.model.rotary_emb)(config=config)
    for parameter in lm.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    tokens = sum(LENGTHS)
    aten = torch.ops.aten
    with FlopCounterMode(display=False, custom_mapping={aten.addmm_: added_in_place}) as counter:
        PackedLanguageModel(lm, minibatch_size=16)(
            torch.arange(tokens) % 100,
            position_ids_T=torch.cat([torch.arange(length) for length in LENGTHS]),
            cu_seqlens=torch.tensor([0, 30, 50], dtype=torch.int32),
            max_seqlen=32,
            trained_N=torch.arange(trained_tokens),
            labels_N=torch.arange(trained_tokens) % 100,
            scale=1.0,
        ).loss.backward()
    assert any(parameter.grad is not None for parameter in lm.parameters())
    products = counter.get_flop_counts()["Global"]
    return sum(products[kind] for kind in (aten.mm, aten.addmm, aten.addmm_) if kind in products)


@pytest.mark.parametrize("trained_tokens", [50, 23])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_torch_counts_the_same_products_in_stage_one(tied, trained_tokens):
    counted = step_flop(
        SMALL, tokens=50, trained_tokens=trained_tokens, squared_lengths=0, trained_rows=100 - FIRST_ROW
    )
    assert multiplied(tied=tied, freeze_llm=True, trained_tokens=trained_tokens) == counted


@pytest.mark.parametrize("trained_tokens", [50, 23])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_torch_counts_the_same_products_in_a_full_step_but_for_the_head_where_nothing_is_trained(
    tied, trained_tokens
):
    counted = step_flop(SMALL, tokens=50, trained_tokens=trained_tokens, squared_lengths=0)
    spared = 6 * HEAD * (50 - trained_tokens)
    assert multiplied(tied=tied, freeze_llm=False, trained_tokens=trained_tokens) == counted - spared


@pytest.mark.parametrize(
    ("device_name", "teraflop_per_second"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H100 NVL", 835),
        ("NVIDIA H200", 989),
        ("NVIDIA H200 NVL", 835),
        ("NVIDIA H800", 989),
        ("NVIDIA H800 PCIe", 756),
        ("NVIDIA H20", 148),
        ("NVIDIA H20-3e", 148),
        ("NVIDIA GH200 480GB", 989),
        ("NVIDIA GH200 144G HBM3e", 989),
        ("NVIDIA B200", 2250),
        ("NVIDIA B300 SXM6 AC", 2250),
        ("NVIDIA GB200", 2500),
        ("NVIDIA GB300", 2500),
        ("NVIDIA A100-SXM4-40GB", 312),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA A100-PCIE-40GB", 312),
        ("NVIDIA A100 80GB PCIe", 312),
        ("NVIDIA A800-SXM4-80GB", 312),
        ("NVIDIA A800 80GB PCIe", 312),
        ("A100-SXM4-40GB", 312),
        ("NVIDIA RTX A6000", 154.8),
        ("NVIDIA A30", 165),
        ("NVIDIA A40", 149.7),
        ("NVIDIA A10", 125),
        ("NVIDIA A10G", 70),
        ("NVIDIA L4", 121),
        ("NVIDIA L40", 181),
        ("NVIDIA L40S", 362),
        ("NVIDIA RTX 6000 Ada Generation", 364.2),
        ("NVIDIA GeForce RTX 3090", 71),
        ("NVIDIA GeForce RTX 4090", 165.2),
        ("NVIDIA GeForce RTX 5090", 209.5),
        ("AMD Instinct MI210", 181),
        ("AMD Instinct MI250", 181),
        ("AMD Instinct MI250X", 191.5),
        ("AMD Instinct MI300X", 1307.4),
        ("AMD Instinct MI325X", 1307.4),
    ],
)
def test_the_peak_of_a_gpu_is_that_of_its_own_sheet(device_name, teraflop_per_second):
    assert peak_of(device_name) == teraflop_per_second * 1e12


@pytest.mark.parametrize(
    "device_name",
    [
        "Tesla V100-SXM2-32GB",
        "Tesla T4",
        "Quadro RTX 6000",
        "GeForce 256",
        "NVIDIA GeForce RTX 3090 Ti",
        "NVIDIA GeForce RTX 4090 D",
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA GeForce RTX 5090 Laptop GPU",
        "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition",
        "NVIDIA RTX 4000 Ada Generation",
        "NVIDIA RTX A5000",
        "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
        "GRID A100-10C",
        "NVIDIA A100-40C",
        "AMD Instinct MI250X / MI250",
        "AMD Instinct MI100",
        "AMD Radeon RX 7900 XTX",
        "NVIDIA H1000",
        "",
    ],
)
def test_a_gpu_that_is_not_in_the_table_or_only_a_slice_of_one_has_no_peak(device_name):
    assert peak_of(device_name) is None


def test_the_peak_is_that_of_all_ranks(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    assert peak_of_ranks(CUDA, world=World(0, 4, 0, 4, "torchrun")) == 4 * 989e12
    assert capsys.readouterr().out == ""


def test_an_unknown_gpu_is_told_once_by_the_first_rank_and_a_cpu_is_not(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    assert [peak_of_ranks(CUDA, world=World(rank, 2, rank, 2, "torchrun")) for rank in range(2)] == [
        None,
        None,
    ]
    assert peak_of_ranks(torch.device("cpu"), world=World(0, 1, 0, 1, "single")) is None
    assert capsys.readouterr().out == "the bf16 peak of 'Tesla T4' is not known, so no MFU is told\n"
