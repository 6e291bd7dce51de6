"""FLOP of a step against numbers counted by hand."""

from transformers import Qwen3Config

from onerec.train.flops import decoder_matmul_parameters, peak_of, step_flop

SMALL = Qwen3Config(
    vocab_size=100,
    hidden_size=8,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=4,
    intermediate_size=16,
)


def test_matrices_of_the_decoder_are_counted_once_each():
    q, k, v, o = 8 * 16, 8 * 8, 8 * 8, 16 * 8
    assert decoder_matmul_parameters(SMALL) == 2 * (q + k + v + o + 3 * 8 * 16)


def test_a_full_step_counts_six_per_weight_and_half_of_the_attention_square():
    weights = decoder_matmul_parameters(SMALL) + 100 * 8
    attention = 12 * 2 * 4 * 4 * (30**2 + 20**2) / 2
    assert step_flop(SMALL, tokens=50, squared_lengths=30**2 + 20**2) == 6 * weights * 50 + attention


def test_stage_one_needs_weight_gradients_of_the_new_rows_only():
    weights = decoder_matmul_parameters(SMALL) + 100 * 8
    assert step_flop(SMALL, tokens=50, squared_lengths=0, trained_rows=10) == (4 * weights + 2 * 10 * 8) * 50


def test_an_unknown_gpu_has_no_peak():
    assert peak_of("NVIDIA H200") == peak_of("NVIDIA H100 80GB HBM3") == 989e12
    assert peak_of("GeForce 256") is None
