"""The program passes a sound folder, fails a broken one by name, and leaves the folder as it was."""

import json
import math
import socket

import pytest
import torch

from onerec.build.rows import write_rows
from onerec.config import ExpandVocabConfig, InitModel, InitModelConfig, Vocab
from onerec.errors import ConfigError, DataError, OneRecError
from onerec.model.expand import expand_vocab
from onerec.model.init import init_model
from onerec.model_test.program import test_model as examine
from tests import qwen3_tokenizer, tiny
from tests.model_test.folders import config, document, tensors

GROUPS = ["files", "tokenizer", "weights", "forward", "generation"]


def state_of(folder):
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_a_sound_folder_passes_without_network_and_stays_as_it_is(folder, tmp_path, monkeypatch, capsys):
    def refuse(*_):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    before = state_of(folder)
    result = examine(config(folder, tmp_path / "out"))
    assert state_of(folder) == before
    assert {check["status"] for check in result["checks"]} == {"ok", "note"}
    assert list(dict.fromkeys(check["group"] for check in result["checks"])) == GROUPS
    document = json.loads((tmp_path / "out" / "test_report.json").read_text())
    assert document.keys() == {"model_dir", "ok", "checks", "generations", "heldout", "report"}
    assert (document["model_dir"], document["ok"], document["heldout"]) == (str(folder), True, {})
    assert document["checks"][0].keys() == {"name", "group", "status", "ok", "detail", "seconds"}
    assert [told["name"] for told in document["generations"]] == [
        check["name"].removeprefix("generation, ")
        for check in document["checks"]
        if check["group"] == "generation"
    ]
    shown = capsys.readouterr()
    assert shown.out == "\n".join(document["report"]) + "\n"
    assert shown.err.splitlines()[0] == f"check 1 of {len(document['checks'])}: weight files"
    assert result["report"][0] == document["report"][0]
    assert [line.split(":")[0] for line in result["report"][1:]] == ["note, trained"]


def test_the_report_is_a_table_with_answers_that_no_terminal_obeys(folder, tmp_path):
    path = tmp_path / "cases.json"
    case = {"name": "bell \x07", "kind": "text", "prompt": "Hello \x1b[2J", "expect": ["\x1b"]}
    path.write_text(json.dumps([case]))
    with pytest.raises(OneRecError):
        examine(config(folder, tmp_path / "out", test={"test_cases": str(path)}))
    document = json.loads((tmp_path / "out" / "test_report.json").read_text())
    report = document["report"]
    assert report[0].startswith(f"{folder}: 1 of 28 checks FAILED, 1 with a note, in ")
    assert report[1:4] == [
        "",
        "files",
        "  ok      weight files          24 tensors, 0.1 MB, in model.safetensors",
    ]
    assert any(line.startswith("  FAIL    bell \\x07             lacks '\\x1b'") for line in report)
    tokens = document["generations"][0]["prompt_tokens"]
    assert report[-3:-1] == [
        f"bell \\x07 (greedy; {tokens} tokens of prompt)",
        "  prompt  'Hello \\x1b[2J'",
    ]
    assert all(line.isprintable() for line in report)


def test_a_broken_folder_fails_by_check_tensor_and_file(folder, tmp_path):
    with tensors(folder) as held:
        del held["model.norm.weight"]
    with pytest.raises(OneRecError) as caught:
        examine(config(folder, tmp_path / "out"))
    assert str(caught.value) == (f"{folder} failed: no tensor missing (model.norm.weight is in no file)")
    assert caught.value.exit_code == 1
    report = json.loads((tmp_path / "out" / "test_report.json").read_text())
    assert not report["ok"]
    assert [check["name"] for check in report["checks"] if not check["ok"]] == ["no tensor missing"]
    assert report["generations"] == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}, "is of LlamaForCausalLM"),
        ({"architectures": ["Qwen3ForSequenceClassification"]}, "is of Qwen3ForSequenceClassification"),
        ({"architectures": None}, "is of no architecture"),
        ({"quantization_config": {"quant_method": "fp8"}}, "has a quantization_config"),
    ],
)
def test_another_model_is_refused(folder, tmp_path, change, told):
    with document(folder / "config.json") as settings:
        settings.update(change)
    with pytest.raises(ConfigError, match=told):
        examine(config(folder, tmp_path / "out"))


def test_what_is_no_model_is_refused(folder, tmp_path):
    (folder / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"has neither model\.safetensors nor"):
        examine(config(folder, tmp_path / "out"))
    with pytest.raises(ConfigError, match=r"has no config\.json"):
        examine(config(tmp_path, tmp_path / "out"))


def test_a_device_that_is_not_there_is_refused(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    told = config(folder, tmp_path / "out").model_copy(update={"device": "cuda"})
    with pytest.raises(ConfigError, match="torch sees no GPU"):
        examine(told)


def test_code_in_a_folder_is_not_run(folder, tmp_path):
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: pass\n")
    with document(folder / "config.json") as settings:
        settings["auto_map"] = {"AutoModelForCausalLM": "evil.Evil", "AutoConfig": "evil.Evil"}
    with document(folder / "tokenizer_config.json") as settings:
        settings["auto_map"] = {"AutoTokenizer": [None, "evil.Evil"]}
    examine(config(folder, tmp_path / "out"))
    assert not (tmp_path / "ran").exists()


def test_heldout_answers_are_compared_with_popularity(folder, tmp_path, tiny_programme):
    chats = tmp_path / "chats"
    write_rows((row for row in tiny.rows(30, seed=9) if row.messages), chats)
    places = {"heldout_dir": str(chats), "popularity_dir": str(tiny_programme / "data")}
    result = examine(config(folder, tmp_path / "out", **places))
    assert result["heldout"].keys() == {"answers", "model", "model_per_token", "popularity"}
    assert result["heldout"]["answers"] == 10
    assert math.isfinite(result["heldout"]["model"])
    assert result["checks"][-1]["name"] == "held-out answers"
    assert result["report"][-1].startswith("held-out answers: 10, model ")


def test_answers_that_cannot_be_compared_are_refused(folder, tmp_path, tiny_programme):
    chats = tmp_path / "chats"
    answer = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "no item"}]
    write_rows(iter([tiny.Row(tiny._uuid(1), "x", {}, messages=tuple(answer))]), chats)
    places = {"heldout_dir": str(chats), "popularity_dir": str(tiny_programme / "data")}
    with pytest.raises(DataError, match="of which 0 name an item"):
        examine(config(folder, tmp_path / "out", **places))


def test_a_folder_with_the_real_tokenizer_passes(tmp_path):
    tokenizer_dir = qwen3_tokenizer.folder()
    sizes = InitModel(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=8,
        intermediate_size=8,
        tokenizer_dir=str(tokenizer_dir),
    )
    init_model(
        InitModelConfig(
            output_dir=str(tmp_path / "base"), seed=1, corpus_dirs=(), model=sizes, use_tie_weights=True
        )
    )
    expand_vocab(
        ExpandVocabConfig(
            output_dir=str(tmp_path / "expanded"),
            seed=1,
            base_model_dir=str(tmp_path / "base" / "model"),
            model_class="Qwen3ForCausalLM",
            vocab=Vocab(),
        )
    )
    result = examine(config(tmp_path / "expanded" / "model", tmp_path / "out"))
    details = {check["name"]: check["detail"] for check in result["checks"]}
    assert details["itemic tokens"] == "24,578 tokens, 3 x 8,192 codes, ids 151669 to 176246"
    assert details["end, padding, begin"] == (
        "ends at <|im_end|> (151645), <|endoftext|> (151643), pads with 151643"
    )
    assert {check["status"] for check in result["checks"]} == {"ok", "note"}
