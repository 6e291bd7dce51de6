"""The init_model program: a Qwen3 of a given size from scratch, with a tokenizer.

The seed alone decides the weights; the texts alone decide the tokenizer.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoTokenizer, GenerationConfig, Qwen3Config, Qwen3ForCausalLM
from transformers.utils import logging

from onerec.errors import ConfigError
from onerec.folder import whole_folder
from onerec.model.hf_folder import CHAT_TEMPLATE_NAME, TOKENIZER_CONFIG_NAME, TOKENIZER_NAME, read_json
from onerec.model.tokenizer import (
    END_OF_TEXT,
    TURN_END,
    TURN_START,
    save_tokenizer,
    train_tokenizer,
    write_chat_template,
)
from onerec.progress import Progress

if TYPE_CHECKING:
    from onerec.config import InitModel, InitModelConfig

TOKENIZER_FILES = (
    TOKENIZER_NAME,
    TOKENIZER_CONFIG_NAME,
    CHAT_TEMPLATE_NAME,
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
)


def init_model(config: InitModelConfig) -> dict[str, object]:
    """Write <output_dir>/model, a Hugging Face folder in fp32; returns its sizes.

    The embedding has one row per token of the tokenizer. Raises ConfigError or DataError when the tokenizer
    cannot be made of what was given.
    """
    output_dir = Path(config.output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    progress = Progress(output_dir, total=2, unit="parts")
    with whole_folder(output_dir / "model") as folder:
        _put_tokenizer(config, folder)
        progress.update(1)
        logging.disable_progress_bar()  # one bar of one shard would only clutter the step's log
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        model = _random_qwen3(config, tokenizer)
        model.save_pretrained(folder)
    progress.update(2)
    parameters = model.num_parameters()
    return {
        "model_dir": str(output_dir / "model"),
        "parameters": parameters,
        "vocab_size": model.config.vocab_size,
        "tied": bool(model.config.tie_word_embeddings),
        "report": [
            f"a Qwen3 of {parameters:,} parameters, {model.config.vocab_size:,} tokens, "
            f"{'tied' if model.config.tie_word_embeddings else 'untied'} head, in {output_dir / 'model'}"
        ],
    }


def _put_tokenizer(config: InitModelConfig, folder: Path) -> None:
    sizes = config.model
    if sizes.tokenizer_dir is None:
        trained = train_tokenizer(config.corpus_dirs, vocab_size=sizes.tokenizer_vocab_size)
        save_tokenizer(trained, folder, max_length=sizes.max_position_embeddings)
    else:
        _take_tokenizer(Path(sizes.tokenizer_dir), folder)


def _take_tokenizer(source: Path, folder: Path) -> None:
    """Copy a tokenizer's files; one without a template gets Qwen3's."""
    found = [source / name for name in TOKENIZER_FILES if (source / name).is_file()]
    if not any(path.name in {TOKENIZER_NAME, "vocab.json"} for path in found):
        raise ConfigError(
            f"{source} holds neither {TOKENIZER_NAME} nor vocab.json; set model.tokenizer_dir to a tokenizer"
        )
    for path in found:
        shutil.copyfile(path, folder / path.name)
    settings = read_json(source / TOKENIZER_CONFIG_NAME)
    if not settings.get("chat_template") and not (folder / CHAT_TEMPLATE_NAME).exists():
        write_chat_template(folder)


def _random_qwen3(config: InitModelConfig, tokenizer: Any) -> Qwen3ForCausalLM:
    """The model, with every generator of the process left as it was."""
    ids = _chat_ids(tokenizer, config.model)
    qwen3 = Qwen3Config(
        vocab_size=max(tokenizer.get_vocab().values()) + 1,
        tie_word_embeddings=config.use_tie_weights,
        eos_token_id=ids[TURN_END],
        pad_token_id=ids[END_OF_TEXT],
        bos_token_id=None,
        dtype="float32",
        **_shape(config.model),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = Qwen3ForCausalLM(qwen3)
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=0.6,
        top_p=0.95,
        top_k=20,
        eos_token_id=[ids[TURN_END], ids[END_OF_TEXT]],
        pad_token_id=ids[END_OF_TEXT],
    )
    return model


def _shape(sizes: InitModel) -> dict[str, int]:
    keys = (
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "intermediate_size",
        "max_position_embeddings",
    )
    return {key: getattr(sizes, key) for key in keys}


def _chat_ids(tokenizer: Any, sizes: InitModel) -> dict[str, int]:
    known = tokenizer.get_vocab()
    missing = [token for token in (END_OF_TEXT, TURN_START, TURN_END) if token not in known]
    if missing:
        raise ConfigError(
            f"the tokenizer of {sizes.tokenizer_dir} lacks {', '.join(missing)}; "
            "set model.tokenizer_dir to one of Qwen's"
        )
    return {token: known[token] for token in (END_OF_TEXT, TURN_START, TURN_END)}
