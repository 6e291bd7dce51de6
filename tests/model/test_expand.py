import json
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from onerec.config import Vocab
from onerec.errors import ConfigError, StorageError
from onerec.vocab import ItemicVocab
from tests import qwen3_tokenizer
from tests.model import qwen3_folder
from tests.model.qwen3_folder import NUM_TOKENS, expand, tensors_of

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
VOCAB = ItemicVocab(3, 4, first_id=NUM_TOKENS)


def files_of(folder: Path):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def same_bits(left, right):
    return left.dtype == right.dtype and torch.equal(left.view(torch.uint8), right.view(torch.uint8))


@pytest.mark.parametrize("padding", [0, 3, 38])
@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("tied", [True, False])
def test_only_rows_after_the_real_tokens_are_new_and_all_else_is_bit_identical(
    tmp_path, tied, dtype, sharded, padding
):
    base = qwen3_folder.make(tmp_path / "base", tied=tied, dtype=dtype, sharded=sharded, padding=padding)
    summary = expand(base, tmp_path / "out")
    before, after = tensors_of(base), tensors_of(tmp_path / "out" / "model")
    rows = max(VOCAB.aligned_size(8), NUM_TOKENS + padding)
    assert before.keys() == after.keys()
    assert (HEAD in after) is not tied
    for name, tensor in before.items():
        if name in {EMBEDDING, HEAD}:
            assert same_bits(after[name][:NUM_TOKENS], tensor[:NUM_TOKENS])
            assert after[name].shape == (rows, 16)
            assert after[name][NUM_TOKENS:].float().abs().max() < 1
        else:
            assert same_bits(after[name], tensor)
    assert {
        key: summary[key] for key in ("first_id", "last_id", "vocab_size", "tied", "already_expanded")
    } == {
        "first_id": NUM_TOKENS,
        "last_id": NUM_TOKENS + 13,
        "vocab_size": rows,
        "tied": tied,
        "already_expanded": False,
    }


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("sharded", [False, True])
def test_the_folder_loads_and_gives_the_old_tokens_the_same_hidden_states(tmp_path, tied, sharded):
    base = qwen3_folder.make(tmp_path / "base", tied=tied, sharded=sharded, padding=6)
    expand(base, tmp_path / "out")
    small = AutoModelForCausalLM.from_pretrained(base)
    large, told = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "model", output_loading_info=True)
    assert not any(told[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert large.config.vocab_size == large.lm_head.weight.shape[0] == 296
    assert large.config.tie_word_embeddings is tied
    assert (large.lm_head.weight is large.model.embed_tokens.weight) is tied
    ids = torch.tensor([[5, 80, 258]])
    torch.testing.assert_close(large(ids).logits[..., :NUM_TOKENS], small(ids).logits[..., :NUM_TOKENS])


def test_an_untied_head_gets_rows_of_its_own_kind(tmp_path):
    base = qwen3_folder.make(tmp_path / "base", tied=False)
    path = base / "model.safetensors"
    tensors = load_file(path)
    tensors[HEAD] = tensors[HEAD] * 0.01 + 7.0
    save_file(tensors, path, metadata={"format": "pt"})
    expand(base, tmp_path / "out")
    after = tensors_of(tmp_path / "out" / "model")
    assert (after[HEAD][NUM_TOKENS:] - 7.0).abs().max() < 0.01
    assert after[EMBEDDING][NUM_TOKENS:].abs().max() < 1


def test_embedding_and_head_do_not_get_the_same_rows_even_when_they_are_alike(tmp_path):
    base = qwen3_folder.make(tmp_path / "base", tied=False)
    tensors = load_file(base / "model.safetensors")
    tensors[HEAD] = tensors[EMBEDDING].clone()
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    expand(base, tmp_path / "out")
    after = tensors_of(tmp_path / "out" / "model")
    assert torch.equal(after[HEAD][:NUM_TOKENS], after[EMBEDDING][:NUM_TOKENS])
    assert (after[HEAD][NUM_TOKENS:] != after[EMBEDDING][NUM_TOKENS:]).any(dim=1).all()


def test_new_rows_have_the_mean_and_covariance_of_the_real_ones(tmp_path):
    base = qwen3_folder.make(tmp_path / "base", padding=20, hidden_size=4)
    path = base / "model.safetensors"
    tensors = load_file(path)
    mixing = torch.tensor([[3.0, 0, 0, 0], [1, 1, 0, 0], [0, 2, 1, 0], [0, 0, 0, 0.5]])
    tensors[EMBEDDING][:NUM_TOKENS] = tensors[EMBEDDING][:NUM_TOKENS] @ mixing + torch.tensor([5.0, 0, -5, 1])
    save_file(tensors, path, metadata={"format": "pt"})
    expand(base, tmp_path / "out", vocab=Vocab(itemic_layer_n=2, vocab_size_per_layer=20_000))
    table = tensors_of(tmp_path / "out" / "model")[EMBEDDING].double()
    real, new = table[:NUM_TOKENS], table[NUM_TOKENS:]
    assert len(new) == 40_166
    torch.testing.assert_close(new.mean(dim=0), real.mean(dim=0), rtol=0, atol=0.002)
    torch.testing.assert_close(new.T.cov(), real.T.cov(), rtol=0.05, atol=1e-4)


def test_everything_else_in_the_folder_goes_along(tmp_path):
    base = qwen3_folder.make(tmp_path / "base")
    for name in ("pytorch_model.bin", "consolidated.safetensors", ".hidden"):
        (base / name).write_text("stale")
    (base / "onnx").mkdir()
    (base / "merges.txt").write_text("#version: 0.2\n")
    summary = expand(base, tmp_path / "out")
    before, after = files_of(base), files_of(tmp_path / "out" / "model")
    for name in (
        "LICENSE",
        "merges.txt",
        "generation_config.json",
        "chat_template.jinja",
        "tokenizer_config.json",
    ):
        assert after[name] == before[name]
    assert json.loads(after["config.json"]) == json.loads(before["config.json"]) | {"vocab_size": 296}
    assert GenerationConfig.from_pretrained(tmp_path / "out" / "model").eos_token_id == [258, 256]
    assert json.loads(after["onerec_vocab.json"]) == {
        "itemic_layer_n": 3,
        "vocab_size_per_layer": 4,
        "first_id": NUM_TOKENS,
        "last_id": NUM_TOKENS + 13,
        "vocab_size": 296,
    }
    assert after.keys() == before.keys() - {"pytorch_model.bin", "consolidated.safetensors", ".hidden"} | {
        "onerec_vocab.json"
    }
    assert summary["report"][1].endswith(": .hidden, consolidated.safetensors, onnx, pytorch_model.bin")


@pytest.mark.parametrize("sharded", [False, True])
def test_a_tied_models_stored_copy_of_its_head_is_dropped(tmp_path, sharded):
    base = qwen3_folder.make(tmp_path / "base", tied=True)
    qwen3_folder.store_head_too(base)
    if sharded:
        tensors = load_file(base / "model.safetensors")
        (base / "model.safetensors").unlink()
        for number, (name, tensor) in enumerate(tensors.items()):
            save_file({name: tensor}, base / f"part{number}.safetensors", metadata={"format": "pt"})
        weight_map = {name: f"part{number}.safetensors" for number, name in enumerate(tensors)}
        (base / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    expand(base, tmp_path / "out")
    after = tensors_of(tmp_path / "out" / "model")
    assert HEAD not in after
    model, told = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "model", output_loading_info=True)
    assert not told["mismatched_keys"]
    assert torch.equal(model.lm_head.weight, after[EMBEDDING])
    index = tmp_path / "out" / "model" / "model.safetensors.index.json"
    if sharded:
        size = sum(tensor.numel() * tensor.element_size() for tensor in after.values())
        assert json.loads(index.read_text())["metadata"] == {"total_size": size}


@pytest.mark.parametrize("tied", [True, False])
def test_an_expanded_model_is_copied_byte_for_byte_and_that_is_told(tmp_path, tied):
    base = qwen3_folder.make(tmp_path / "base", tied=tied, padding=3)
    expand(base, tmp_path / "once")
    summary = expand(tmp_path / "once" / "model", tmp_path / "twice", seed=99)
    assert files_of(tmp_path / "twice" / "model") == files_of(tmp_path / "once" / "model")
    assert summary["already_expanded"] is True
    assert summary["report"][0].startswith("already expanded: ")


def test_the_seed_decides_the_new_rows(tmp_path):
    base = qwen3_folder.make(tmp_path / "base")
    for name, seed in [("a", 1), ("b", 1), ("c", 2)]:
        expand(base, tmp_path / name, seed=seed)
    tables = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in "abc"]
    assert tables[0] == tables[1] != tables[2]


def break_class(base):
    text = (base / "config.json").read_text()
    (base / "config.json").write_text(text.replace("Qwen3ForCausalLM", "LlamaForCausalLM"))


def break_head(base):
    text = (base / "config.json").read_text()
    (base / "config.json").write_text(
        text.replace('"tie_word_embeddings": true', '"tie_word_embeddings": false')
    )


def break_rows(base):
    tensors = load_file(base / "model.safetensors")
    tensors[EMBEDDING] = tensors[EMBEDDING][:-1].clone()
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})


def break_dtype(base):
    tensors = load_file(base / "model.safetensors")
    tensors[EMBEDDING] = tensors[EMBEDDING].double()
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})


def break_weights(base):
    data = (base / "model.safetensors").read_bytes()
    (base / "model.safetensors").write_bytes(data[:-1])


@pytest.mark.parametrize(
    ("damage", "error", "told"),
    [
        (break_class, ConfigError, r"config\.json is of LlamaForCausalLM, not Qwen3ForCausalLM"),
        (break_head, ConfigError, r"has no lm_head\.weight, and tie_word_embeddings is false"),
        (break_rows, ConfigError, r"has 281 rows for a tokenizer of 282 tokens"),
        (break_dtype, ConfigError, r"embed_tokens\.weight is F64; give a model in BF16, F16, F32"),
        (break_weights, StorageError, r"model\.safetensors is damaged"),
        (lambda base: (base / "config.json").unlink(), ConfigError, r"config\.json is missing"),
        (lambda base: (base / "config.json").write_text("{"), ConfigError, r"config\.json is not JSON"),
        (lambda base: (base / "model.safetensors").unlink(), ConfigError, r"neither model\.safetensors nor"),
        (
            lambda base: (base / "tokenizer.json").write_text("{}"),
            ConfigError,
            r"tokenizer\.json cannot be read",
        ),
    ],
)
def test_a_folder_that_is_not_whole_is_refused_by_name_and_nothing_is_left(tmp_path, damage, error, told):
    base = qwen3_folder.make(tmp_path / "base")
    damage(base)
    with pytest.raises(error, match=told):
        expand(base, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_missing_shard_is_refused_by_name(tmp_path):
    base = qwen3_folder.make(tmp_path / "base", sharded=True)
    next(base.glob("model-00002-*")).unlink()
    with pytest.raises(ConfigError, match=r"lacks model-00002-of-\d+\.safetensors"):
        expand(base, tmp_path / "out")


def test_the_real_qwen3_tokenizer_gets_ids_151669_to_176246_and_176384_rows(tmp_path):
    """A model with Qwen3's tokenizer and its 151,936 padded rows, eight wide."""
    tokenizer_dir = qwen3_tokenizer.folder()
    base = qwen3_folder.make(
        tmp_path / "base", padding=151_936 - NUM_TOKENS, hidden_size=8, dtype=torch.bfloat16
    )
    tensors = load_file(base / "model.safetensors")
    tensors[EMBEDDING] = torch.arange(151_936 * 8).reshape(151_936, 8).sin().to(torch.bfloat16)
    tensors[EMBEDDING][151_669:] = 0
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (base / name).write_bytes((tokenizer_dir / name).read_bytes())
    began = time.process_time()
    summary = expand(base, tmp_path / "out", vocab=Vocab())
    seconds = time.process_time() - began
    assert {key: summary[key] for key in ("first_id", "last_id", "vocab_size", "new_rows")} == {
        "first_id": 151_669,
        "last_id": 176_246,
        "vocab_size": 176_384,
        "new_rows": 24_715,
    }
    table = load_file(tmp_path / "out" / "model" / "model.safetensors")[EMBEDDING]
    assert table.shape == (176_384, 8)
    assert same_bits(table[:151_669], tensors[EMBEDDING][:151_669])
    assert (table[151_669:] != 0).any(dim=1).all()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out" / "model")
    text = "看了 <|sid_begin|><s_a_0><s_b_17><s_c_8191><|sid_end|> then"
    ids = tokenizer.encode(text)
    assert [n for n in ids if n >= 151_669] == [176_245, 151_669, 151_669 + 8192 + 17, 176_244, 176_246]
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert len(tokenizer) == 176_247
    assert seconds < 20
