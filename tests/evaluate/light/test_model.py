"""What a small model says in numpy, against transformers in fp32 and the search in the trie."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen3Config, Qwen3ForCausalLM

from onerec.config import RecommendConfig
from onerec.data.source.validate import Message, Row
from onerec.data.text.render import Renderer
from onerec.errors import ConfigError, DataError
from onerec.evaluate.light import model as light
from onerec.evaluate.light.model import LightModel
from onerec.evaluate.light.qwen3 import Branches, Shape
from onerec.evaluate.light.tokenizer import LightTokenizer
from onerec.evaluate.light.weights import read_weights
from onerec.evaluate.recommend import recommend
from onerec.evaluate.recommender import Recommender
from onerec.items.item_map import ITEMS_NAME, load_item_map
from tests.evaluate import built

QUESTIONS = (
    "plain words, and an item: ",
    "喜欢什么?" * 9,
    "a question that spells <|im_start|>assistant\nitself<|im_end|>",
    "",
)


def copy_of(folder, target):
    shutil.copytree(folder, target)
    built.write_items(target / ITEMS_NAME, about=built.ABOUT)
    return target


@pytest.fixture(scope="module", params=["tied", "untied"])
def folder(request, tmp_path_factory):
    made = request.getfixturevalue("tiny_programme" if request.param == "tied" else "tiny_untied")
    return copy_of(built.model_of(made), tmp_path_factory.mktemp("model") / "model")


@pytest.fixture
def changed(tiny_programme, tmp_path):
    return copy_of(built.model_of(tiny_programme), tmp_path / "model")


def rows():
    answer = built.spelled([0])
    chats = [(Message("user", question), Message("assistant", answer)) for question in QUESTIONS]
    chats.append((Message("system", "be short"), Message("user", built.spelled([5, 6])), *chats[0][1:]))
    return [Row("id", "next_item", chat, None, {}, "file", number) for number, chat in enumerate(chats)]


def opened(folder, kind, *, thinks=False):
    return kind.load(folder, load_item_map(folder), add_think_pattern=thinks)


@pytest.mark.parametrize("thinks", [False, True], ids=["plain", "think"])
@pytest.mark.parametrize("width", [3, 12, 40])
def test_answers_are_those_of_the_search_in_torch(folder, thinks, width):
    excluded = [[0, 1, 2], [], list(range(30)), list(range(40)), [7, 7]]
    heavy = opened(folder, Recommender, thinks=thinks)
    expected = heavy.ask(heavy.prompts(rows()), width=width, excluded=excluded, batch_size=5)
    found = opened(folder, LightModel, thinks=thinks).ask(rows(), excluded, width=width)
    assert [answer.items for answer in found] == [answer.items for answer in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.scores == pytest.approx(theirs.scores, abs=1e-4)
    assert found[3].items == []


@pytest.mark.parametrize("thinks", [False, True], ids=["plain", "think"])
def test_prompts_are_those_of_the_tokenizer_that_trained(folder, thinks):
    tokenizer = LightTokenizer.load(folder)
    ours = Renderer(folder, add_think_pattern=thinks, tokenizer=tokenizer)
    theirs = Renderer(folder, add_think_pattern=thinks)
    assert ours.render_many(rows()) == theirs.render_many(rows())


@pytest.mark.parametrize("heads", [(4, 4), (4, 2), (6, 1)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_hidden_states_of_branches_are_those_of_transformers(heads, dtype, tmp_path):
    torch.manual_seed(1)
    config = Qwen3Config(
        vocab_size=50,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=3,
        num_attention_heads=heads[0],
        num_key_value_heads=heads[1],
        head_dim=8,
        initializer_range=0.5,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 5000.0},
        tie_word_embeddings=False,
    )
    lm = Qwen3ForCausalLM(config).to(dtype)
    for name, weight in lm.named_parameters():
        if "norm" in name:
            weight.data.uniform_(0.5, 1.5)
    lm.save_pretrained(tmp_path, max_shard_size="20KB")
    lm = Qwen3ForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    weights = read_weights(sorted(tmp_path.glob("*.safetensors")))
    shape = Shape.of(json.loads((tmp_path / "config.json").read_text()))
    prompt, first, second, parents = [7, 3, 9, 9, 21], [4, 5, 6], [8, 1], [2, 0]
    tree = Branches(shape, weights, prompt)
    tree.grow(np.array(first), np.zeros(3, dtype=np.int64))
    found = tree.log_probs(tree.grow(np.array(second), np.array(parents)))
    for row, token, parent in zip(found, second, parents, strict=True):
        with torch.no_grad():
            logits = lm(torch.tensor([[*prompt, first[parent], token]])).logits
        np.testing.assert_allclose(row, logits[0, -1].log_softmax(-1).numpy(), atol=2e-4)


@pytest.mark.parametrize(
    "change",
    [
        {"architectures": ["OtherForCausalLM"]},
        {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e6}},
        {"rope_parameters": None},
        {"hidden_act": "gelu"},
        {"attention_bias": True},
        {"use_sliding_window": True},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_model_that_is_computed_in_another_way_is_left_to_transformers(changed, change):
    path = changed / "config.json"
    assert opened(changed, LightModel) is not None
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert opened(changed, LightModel) is None


def test_so_is_a_large_model_and_a_template_that_asks_for_more_than_messages(changed, monkeypatch):
    template = changed / "chat_template.jinja"
    plain = template.read_text()
    for more in ("{{ bos_token }}", "{{ strftime_now('%Y') }}", "{% generation %}{% endgeneration %}"):
        template.write_text(plain + more)
        assert opened(changed, LightModel) is None
    template.write_text(plain)
    assert opened(changed, LightModel) is not None
    monkeypatch.setattr(light, "MOST_BYTES", 1000)
    assert opened(changed, LightModel) is None


def test_a_broken_tokenizer_is_told_by_transformers(changed, tmp_path):
    path = changed / "tokenizer.json"
    path.write_text(path.read_text()[:500])
    config = RecommendConfig(
        output_dir=str(tmp_path / "out"), model_dir=str(changed), histories=(("p1",),), device="cpu"
    )
    with pytest.raises(ConfigError, match="no usable tokenizer"):
        recommend(config)


def test_items_of_another_vocabulary_are_refused(changed):
    path = changed / "onerec_vocab.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "vocab_size_per_layer": 4}))
    with pytest.raises(ConfigError, match="has 3 levels of 4 codes, its items have 3 levels and codes up to"):
        LightModel.load(changed, load_item_map(changed), add_think_pattern=False)


def test_broken_weights_are_told(changed):
    path = changed / "model.safetensors"
    whole = path.read_bytes()
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}  # the file is cut below them
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="cannot be read as safetensors"):
        opened(changed, LightModel)
    tensors["model.norm.weight"][3] = torch.nan
    save_file(tensors, path)
    with pytest.raises(DataError, match="numbers that are none"):
        opened(changed, LightModel).ask(rows(), None, width=3)


def test_a_small_model_answers_without_torch_and_transformers(changed, tmp_path):
    config = {
        "kind": "recommend",
        "output_dir": str(tmp_path / "out"),
        "model_dir": str(changed),
        "histories": [["p1", "p2"]],
        "device": "cpu",
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    code = (
        "import sys; from onerec.__main__ import main; code = main(sys.argv[1:]); "
        "heavy = {'torch', 'transformers'} & set(sys.modules); assert code == 0 and not heavy, (code, heavy)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "config.json")], check=True)
    document = json.loads((tmp_path / "out" / "recommendations.json").read_text())
    assert len(document["users"][0]["items"]) == 10
