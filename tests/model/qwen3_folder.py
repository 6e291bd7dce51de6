"""Small real Qwen3 folders to start from: tied or not, in one file or several, with or without padding."""

import json

import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, pre_tokenizers
from tokenizers.models import BPE
from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

from onerec.config import ExpandVocabConfig, Vocab
from onerec.model import tokenizer as ours
from onerec.model.expand import expand_vocab

NUM_TOKENS = 256 + 14 + 12
PADDING_VALUE = 1000.0


def alphabet_tokenizer():
    """Bytes and Qwen3's added tokens; no merges."""
    tokenizer = ours._untrained()
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer.model = BPE(vocab={letter: number for number, letter in enumerate(letters)}, merges=[])
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in ours.SPECIAL_TOKENS])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in ours.PLAIN_TOKENS])
    return tokenizer


def make(folder, *, tied=True, dtype=torch.float32, padding=0, sharded=False, hidden_size=16):
    """Write the folder; rows that only pad have values no real row has. Returns the folder."""
    config = Qwen3Config(
        vocab_size=NUM_TOKENS + padding,
        hidden_size=hidden_size,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=64,
        tie_word_embeddings=tied,
        eos_token_id=258,
        pad_token_id=256,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = Qwen3ForCausalLM(config).to(dtype)
    with torch.no_grad():
        model.model.embed_tokens.weight[NUM_TOKENS:] = PADDING_VALUE
        model.lm_head.weight[NUM_TOKENS:] = PADDING_VALUE
    model.generation_config = GenerationConfig(temperature=0.5, do_sample=True, eos_token_id=[258, 256])
    model.save_pretrained(folder, max_shard_size="20KB" if sharded else "5GB")
    ours.save_tokenizer(alphabet_tokenizer(), folder, max_length=64)
    (folder / "LICENSE").write_text("of the base model")
    return folder


def store_head_too(folder):
    """As some published tied models do: the head is stored besides the embedding it is tied to."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, path, metadata={"format": "pt"})


def tensors_of(folder):
    """Every tensor of the folder's safetensors files by name."""
    index = folder / "model.safetensors.index.json"
    names = {"model.safetensors"}
    if index.exists():
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    return {name: tensor for file in sorted(names) for name, tensor in load_file(folder / file).items()}


def expand(base, output_dir, *, seed=5, vocab=None, model_class="Qwen3ForCausalLM"):
    """Run the programme on a folder, by default with 3 levels of 4 codes; returns its summary."""
    return expand_vocab(
        ExpandVocabConfig(
            output_dir=str(output_dir),
            seed=seed,
            base_model_dir=str(base),
            model_class=model_class,
            vocab=vocab or Vocab(itemic_layer_n=3, vocab_size_per_layer=4, alignment=8),
        )
    )
