import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3ForCausalLM

from onerec.config import InitModel, InitModelConfig, StageSource
from onerec.errors import ConfigError
from onerec.model.init import init_model
from tests.model import qwen3_folder

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 48,
    "max_position_embeddings": 256,
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    texts = [
        f"A viewer watched film {n} and then, much later, another drama of 19{n}." for n in range(10, 90)
    ]
    rows = [json.dumps([{"type": "text", "text": text}]) for text in texts]
    pq.write_table(pa.table({"segments": rows}), folder / "part-00000-of-00001.parquet")
    return folder


def config(output_dir, corpus=None, *, seed=5, tied=True, **model):
    corpus_of = {"corpus": (StageSource(stage="data", name="pretrain"),)} if corpus else {}
    return InitModelConfig(
        output_dir=str(output_dir),
        seed=seed,
        corpus_dirs=(str(corpus),) if corpus else (),
        model=InitModel(**SIZES, **corpus_of, **({"tokenizer_vocab_size": 320} | model)),
        use_tie_weights=tied,
    )


def weights(folder):
    return (folder / "model" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("tied", [True, False])
def test_the_folder_loads_as_a_qwen3_of_the_sizes_asked_for(tmp_path, corpus, tied):
    summary = init_model(config(tmp_path, corpus, tied=tied))
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert type(model) is Qwen3ForCausalLM
    assert {name: getattr(model.config, name) for name in SIZES} == SIZES
    assert len(tokenizer) == model.config.vocab_size == model.get_input_embeddings().weight.shape[0] == 320
    assert model.config.tie_word_embeddings is tied
    assert (model.lm_head.weight is model.model.embed_tokens.weight) is tied
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert (summary["vocab_size"], summary["tied"]) == (320, tied)
    ids = torch.tensor([tokenizer.encode("A viewer watched film 12")])
    assert torch.isfinite(model(ids).logits).all()


def test_generation_ends_at_a_turns_or_a_documents_end(tmp_path, corpus):
    init_model(config(tmp_path, corpus))
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    ends = [tokenizer.convert_tokens_to_ids(token) for token in ("<|im_end|>", "<|endoftext|>")]
    assert model.generation_config.eos_token_id == ends
    assert model.generation_config.pad_token_id == ends[1]
    assert (model.config.eos_token_id, model.config.pad_token_id) == tuple(ends)


def test_the_seed_decides_the_weights_and_leaves_the_process_generator_alone(tmp_path, corpus):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    for name, seed in [("a", 5), ("b", 5), ("c", 6)]:
        init_model(config(tmp_path / name, corpus, seed=seed))
    assert torch.equal(torch.rand(1), expected)
    assert weights(tmp_path / "a") == weights(tmp_path / "b") != weights(tmp_path / "c")


def test_a_given_tokenizer_is_taken_as_it_is(tmp_path):
    given = qwen3_folder.make(tmp_path / "given")
    init_model(config(tmp_path, tokenizer_dir=str(given)))
    taken = tmp_path / "model"
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (taken / name).read_bytes() == (given / name).read_bytes()
    assert AutoModelForCausalLM.from_pretrained(taken).config.vocab_size == qwen3_folder.NUM_TOKENS


def test_a_given_tokenizer_without_a_template_gets_qwen3s(tmp_path):
    given = qwen3_folder.make(tmp_path / "given")
    template = (given / "chat_template.jinja").read_text(encoding="utf-8")
    (given / "chat_template.jinja").unlink()
    init_model(config(tmp_path, tokenizer_dir=str(given)))
    assert AutoTokenizer.from_pretrained(tmp_path / "model").chat_template == template


def test_a_folder_without_a_tokenizer_and_one_without_chat_tokens_are_refused_and_leave_nothing(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"neither tokenizer\.json nor vocab\.json"):
        init_model(config(tmp_path / "out", tokenizer_dir=str(tmp_path / "empty")))
    given = qwen3_folder.make(tmp_path / "given")
    text = (given / "tokenizer.json").read_text(encoding="utf-8")
    (given / "tokenizer.json").write_text(text.replace("<|im_start|>", "<|other|>"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"lacks <\|im_start\|>"):
        init_model(config(tmp_path / "out", tokenizer_dir=str(given)))
    assert [path.name for path in (tmp_path / "out").iterdir() if path.name != "progress.json"] == []
