"""Preflight finds, in one go, what a manifest counts on and is not there."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from runner.disk import disks_of
from runner.manifest import Manifest, load
from runner.preflight import check, checkpoint_bytes
from runner.report import size
from runner.sizes import sizes_of

WRITTEN = """\
name = "demo"

[model]
base_model_dir = "Qwen3"

[cluster]
launcher = "mpirun"
hostfile = "hosts"
nproc_per_node = 2

[datasets.pretrain]
sources = ["list.json", "rows", "more/*.parquet", "one.parquet", "s3://bucket/sft/"]

[stages.expand]
kind = "expand_vocab"

[stages.stage1]
kind = "train"
dataset = "pretrain"
freeze_llm = true
learning_rate = 1e-3

[stages.test]
kind = "test_model"
test_cases = "cases.json"
"""

CONFIG = {
    "model_type": "qwen3",
    "architectures": ["Qwen3ForCausalLM"],
    "hidden_size": 1024,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 3072,
    "max_position_embeddings": 40960,
    "tie_word_embeddings": True,
    "vocab_size": 151936,
}
QWEN3_TOKENS = 151669


def write_model(folder: Path, tokens: int = 10, added: tuple[str, ...] = (), **config: object) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**CONFIG, **config}), encoding="utf-8")
    vocab = {f"t{number}": number for number in range(tokens - 1)}
    special = [{"content": text, "id": tokens - 1 + at} for at, text in enumerate(("<|endoftext|>", *added))]
    document = {"model": {"vocab": vocab}, "added_tokens": special}
    (folder / "tokenizer.json").write_text(json.dumps(document), encoding="utf-8")
    (folder / "model.safetensors").touch()


@pytest.fixture(autouse=True)
def _complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A folder in which nothing is missing, programs included."""
    monkeypatch.chdir(tmp_path)
    write_model(Path("Qwen3"))
    Path("hosts").write_text("a slots=2\nb slots=2\n", encoding="utf-8")
    for path in ("rows/deep/part-0.parquet", "more/x.parquet", "one.parquet", "listed.parquet"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).touch()
    entries = ["listed.parquet", str(tmp_path / "one.parquet"), "hdfs://n/x.parquet"]
    Path("list.json").write_text(json.dumps(entries), encoding="utf-8")
    case = {"name": "one", "kind": "text", "prompt": "x"}
    Path("cases.json").write_text(json.dumps([case]), encoding="utf-8")
    for program in ("mpirun", "ssh"):
        Path("bin").mkdir(exist_ok=True)
        Path("bin", program).write_text("#!/bin/sh\n", encoding="utf-8")
        Path("bin", program).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


def manifest(*changes: tuple[str, str]) -> Manifest:
    text = WRITTEN
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    Path("m.toml").write_text(text, encoding="utf-8")
    return load("m.toml").manifest


def told(*changes: tuple[str, str], free_bytes: int = 10**15) -> list[str]:
    """What preflight finds, paths of this test's folder cut off."""
    here = f"{Path.cwd()}/"
    return [str(finding).replace(here, "") for finding in check(manifest(*changes), free_bytes=free_bytes)]


def test_nothing_is_found_where_nothing_is_missing():
    assert told() == []


def test_everything_that_is_missing_is_found_at_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "/nowhere")
    for path in (
        "list.json",
        "one.parquet",
        "more/x.parquet",
        "rows/deep/part-0.parquet",
        "hosts",
        "cases.json",
    ):
        Path(path).unlink()
    Path("Qwen3").rename("gone")
    correct = "correct the path; it is relative to the manifest's folder"

    assert told() == [
        "error: model.base_model_dir: Qwen3 is not there; "
        "correct the path, relative to the manifest's folder",
        "error: cluster.launcher: mpirun is not on the PATH; install Open MPI, or choose torchrun",
        "error: cluster.hostfile: hosts: cannot be read: [Errno 2] No such file or directory: 'hosts'; "
        "check cluster.hostfile",
        f"error: datasets.pretrain.sources[0]: list.json is not there; {correct}",
        "error: datasets.pretrain.sources[1]: the folder rows holds no parquet file; correct the path",
        "error: datasets.pretrain.sources[2]: nothing matches more/*.parquet; correct the pattern",
        f"error: datasets.pretrain.sources[3]: one.parquet is not there; {correct}",
        f"error: stages.test.test_cases: cases.json is not there; {correct}",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "is no JSON list: Expecting value: line 1 column 2 (char 1); write it as a list of paths"),
        ('{"a": 1}', "is no JSON list of texts; write it as a list of paths"),
        ("[]", "is an empty list; name at least one file"),
        (
            '["a.parquet", "b", "one.parquet", "c", "d"]',
            "4 of 5 entries of list.json are not there: a.parquet, b, c, ...; "
            "correct them; relative ones are looked for beside the list",
        ),
    ],
)
def test_a_file_list_leads_to_files(content: str, message: str):
    Path("list.json").write_text(content, encoding="utf-8")
    about = message if message[0].isdigit() else f"list.json {message}"

    assert told() == [f"error: datasets.pretrain.sources[0]: {about}"]


@pytest.mark.parametrize(
    ("hosts", "messages"),
    [
        ("a:2\nb:2\n", ["hosts:1: 'a:2' is no name of a host; write \"a slots=2\""] * 1),
        ("-x\n", ["hosts:1: '-x' is no name of a host; use letters, digits and '._-', the first no mark"]),
        ("", ['hosts: has no host; write one a line, "host slots=8"']),
    ],
)
def test_a_hostfile_is_read(hosts: str, messages: list[str]):
    Path("hosts").write_text(hosts, encoding="utf-8")

    assert [line.removeprefix("error: cluster.hostfile: ") for line in told()][: len(messages)] == messages


def test_hosts_and_slots_suffice_for_what_the_cluster_asks():
    assert told(("nproc_per_node = 2", "nproc_per_node = 3\nnnodes = 4")) == [
        "error: cluster.nnodes: hosts has 2 of 4 hosts; add hosts, or lower nnodes",
        "error: cluster.nproc_per_node: 3 processes do not fit on a, which has slots=2 in hosts; "
        "raise its slots, or lower nproc_per_node",
        "error: cluster.nproc_per_node: 3 processes do not fit on b, which has slots=2 in hosts; "
        "raise its slots, or lower nproc_per_node",
    ]


def test_other_hosts_need_ssh():
    Path("bin/ssh").unlink()

    assert told() == [
        "error: cluster.hostfile: ssh is not on the PATH, and starts the other hosts; install it"
    ]


COMPLETE = "give the complete Hugging Face folder of a Qwen3"


def test_the_base_model_is_a_whole_qwen3():
    write_model(Path("Qwen3"), model_type="llama", architectures=["LlamaForCausalLM"])
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    Path("Qwen3/model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    Path("Qwen3/model-1.safetensors").touch()
    Path("Qwen3/tokenizer.json").unlink()

    assert told() == [
        f"error: model.base_model_dir: Qwen3 is of ['LlamaForCausalLM'], not Qwen3ForCausalLM; {COMPLETE}",
        f"error: model.base_model_dir: Qwen3 lacks model-2.safetensors; {COMPLETE}",
        "error: model.base_model_dir: tokenizer.json cannot be read: [Errno 2] No such file or directory: "
        f"'Qwen3/tokenizer.json'; {COMPLETE}",
    ]


def test_a_folder_without_a_config_is_no_base_model():
    Path("Qwen3/config.json").write_text("{", encoding="utf-8")

    assert told() == [f"error: model.base_model_dir: Qwen3 has no config.json that can be read; {COMPLETE}"]


def test_what_the_config_says_otherwise_is_a_warning():
    write_model(Path("Qwen3"), tie_word_embeddings=False, max_position_embeddings=4096)

    assert told(('base_model_dir = "Qwen3"', 'base_model_dir = "Qwen3"\nuse_tie_weights = true')) == [
        "warning: datasets.pretrain.max_sample_length: samples of 32768 tokens are longer than the 4096 "
        "positions the model knows; write 4096",
        "warning: model.use_tie_weights: true, but Qwen3 was trained with tie_word_embeddings = false; "
        "remove it, unless you mean to change the model",
    ]


def test_a_model_from_scratch_knows_the_positions_of_its_stage():
    made = 'kind = "init_model"\ntokenizer_dir = "Qwen3"\n\n[stages.more]\nkind = "expand_vocab"'
    scratch = ('kind = "expand_vocab"', made)

    assert told(scratch, ('base_model_dir = "Qwen3"\n', "")) == [
        "warning: datasets.pretrain.max_sample_length: samples of 32768 tokens are longer than the 4096 "
        "positions the model knows; write 4096"
    ]


def itemic_range(first: int, last: int) -> tuple[str, str]:
    return "[stages.expand]", f"itemic_id_range = [{first}, {last}]\n[stages.expand]"


def test_itemic_ids_begin_after_the_last_token_of_the_tokenizer():
    assert told(itemic_range(10, 24587)) == []
    assert told(itemic_range(11, 24588)) == [
        "error: datasets.pretrain.itemic_id_range: [11, 24588], but with this tokenizer itemic ids are "
        "[10, 24587]; correct it, or remove it: it is derived"
    ]


def test_with_qwen3s_number_of_tokens_the_range_is_that_of_onerec():
    write_model(Path("Qwen3"), tokens=QWEN3_TOKENS)

    assert told(itemic_range(151669, 176246)) == []


def test_a_base_model_that_is_expanded_already_has_its_itemic_ids():
    sizes = ("[cluster]", "[vocab]\nitemic_layer_n = 1\nvocab_size_per_layer = 2\n[cluster]")
    itemic = ("<s_a_0>", "<s_a_1>", "<|sid_begin|>", "<|sid_end|>")
    write_model(Path("Qwen3"), added=(*itemic, "<later>"))

    assert told(sizes, itemic_range(10, 13)) == []
    assert told(itemic_range(10, 24587)) == [
        "error: model.base_model_dir: it is expanded already, with other sizes than [vocab] has; "
        "correct [vocab], or give the model as it was before"
    ]


def test_itemic_rows_can_only_be_trained_where_they_are():
    without = ('[stages.expand]\nkind = "expand_vocab"\n', "")

    assert told(without) == [
        "error: stages.stage1: the model it starts from has no itemic tokens; "
        'put a stage of kind "expand_vocab" before it'
    ]
    assert told(without, ("freeze_llm = true\n", ""))[0].startswith("error: stages.stage1: ")
    assert told(("freeze_llm = true", "freeze_llm = true\nstart_optimize_embedding_index = 3")) == [
        "warning: stages.stage1.start_optimize_embedding_index: 3, but the first itemic id is 10; "
        "remove it to train exactly the itemic rows"
    ]


def test_a_model_that_others_expanded_lacks_what_tells_its_ids():
    sizes = ("[cluster]", "[vocab]\nitemic_layer_n = 1\nvocab_size_per_layer = 2\n[cluster]")
    without = ('[stages.expand]\nkind = "expand_vocab"\n', "")
    write_model(Path("Qwen3"), added=("<s_a_0>", "<s_a_1>", "<|sid_begin|>", "<|sid_end|>"))

    assert told(sizes, without) == [
        "error: stages.stage1: the model it starts from has no onerec_vocab.json, which tells its "
        'itemic ids; put a stage of kind "expand_vocab" before it'
    ]
    Path("Qwen3/onerec_vocab.json").touch()
    assert told(sizes, without) == []


def first_row(row: int) -> tuple[str, str]:
    return "freeze_llm = true", f"freeze_llm = true\nstart_optimize_embedding_index = {row}"


def test_the_first_trained_row_lies_in_the_expanded_table():
    place = "stages.stage1.start_optimize_embedding_index"
    remedy = "remove it to train exactly the itemic rows, or choose a row of the table"
    write_model(Path("Qwen3"), tokens=QWEN3_TOKENS)

    assert told(first_row(151669)) == []
    assert told(first_row(176383))[0].startswith(f"warning: {place}: ")
    assert told(first_row(176384)) == [
        f"error: {place}: 176384 is outside the table of 176384 rows; {remedy}"
    ]

    write_model(Path("Qwen3"), vocab_size=300_000)  # padding that the expansion keeps
    assert told(first_row(300_031))[0].startswith(f"warning: {place}: ")
    assert told(first_row(300_032))[0].startswith(f"error: {place}: ")


def test_the_first_trained_row_lies_in_the_table_of_a_model_from_scratch():
    made = 'kind = "init_model"\ntokenizer_vocab_size = 320\ncorpus = [{ stage = "data", name = "pretrain" }]'
    data = '[stages.data]\nkind = "build_data"\nsource = "movielens-100k"\n\n[stages.expand]'
    scratch = (
        ('kind = "expand_vocab"', made + '\n\n[stages.more]\nkind = "expand_vocab"'),
        ("[stages.expand]", data),
        ('base_model_dir = "Qwen3"\n', ""),
    )
    outside = "error: stages.stage1.start_optimize_embedding_index: "

    assert not any(line.startswith(outside) for line in told(first_row(25_087), *scratch))
    assert any(line.startswith(outside) for line in told(first_row(25_088), *scratch))


def test_a_table_without_a_row_for_every_token_is_no_base_model():
    write_model(Path("Qwen3"), vocab_size=9)

    assert told() == [
        f"error: model.base_model_dir: its table of 9 rows has none for token 9 of its tokenizer; {COMPLETE}"
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "which is no list"),
        ("[]", "holds no test case"),
        ('[{"name": "a", "kind": "text"}]', 'case 1 "a": prompt: is missing; kind text goes on from it'),
    ],
)
def test_test_cases_are_those_that_the_model_test_reads(content: str, message: str):
    Path("cases.json").write_text(content, encoding="utf-8")
    (line,) = told()

    assert line.startswith("error: stages.test.test_cases: cases.json")
    assert message in line


def test_files_that_stages_name_are_there():
    stages = (
        "[stages.expand]",
        '[stages.data]\nkind = "build_data"\nsource = "movielens-100k"\npath = "ml"\n\n[stages.expand]',
    )
    resumed = ("freeze_llm = true", 'freeze_llm = true\nresume_from = "old/stage1"')

    assert told(stages, resumed) == [
        "error: stages.data.path: ml is not there; correct the path; it is relative to the manifest's folder",
        "error: stages.stage1.resume_from: old/stage1 is not there; "
        "correct the path; it is relative to the manifest's folder",
    ]


def test_what_is_built_from_and_measured_on_is_there():
    built = (
        "[stages.expand]",
        '[stages.data]\nkind = "build_data"\ninteractions = "a.csv"\nitems = "b.csv"\n'
        'given_ids = "c.parquet"\nitem_vectors = "text_encoder"\ntext_encoder_dir = "rows"\n\n'
        "[stages.expand]",
    )
    measured = ("[stages.test]", '[stages.eval]\nkind = "evaluate"\nbuilt_dir = "rows"\n\n[stages.test]')
    Path("b.csv").touch()

    lost = "is not there; correct the path; it is relative to the manifest's folder"
    assert told(built, measured) == [
        f"error: stages.data.interactions: a.csv {lost}",
        f"error: stages.data.given_ids: c.parquet {lost}",
        f"error: stages.data.text_encoder_dir: rows/config.json {lost}",
        f"error: stages.eval.built_dir: rows/items.parquet {lost}",
    ]


def test_the_parameters_of_the_expanded_model_are_counted_from_the_config():
    qwen3_06b_with_176384_rows = 621_084_672

    assert sizes_of(manifest()).parameters == pytest.approx(qwen3_06b_with_176384_rows, rel=1e-3)


def test_too_little_room_for_the_checkpoints_is_a_warning():
    disks = disks_of(manifest(), sizes_of(manifest()))
    needed = checkpoint_bytes(disks.values())

    assert needed == disks["stage1"].peak
    assert told(free_bytes=needed) == []
    (line,) = told(free_bytes=10**9)
    assert line.startswith("warning: output_dir: 1.0 GB are free on the disk of ")
    assert f"the checkpoints need about {size(needed)}; make room" in line


def test_a_disk_without_room_for_one_checkpoint_is_an_error():
    first, second = told(free_bytes=10**6)

    assert second.startswith("warning: output_dir")
    assert re.match(
        r"error: stages\.stage1: a checkpoint needs 305.2 MB, and the disk of .* has 1.0 MB free; make room",
        first,
    )


def test_an_output_folder_that_is_a_file_is_found():
    Path("runs").touch()

    assert told() == [
        "error: output_dir: runs is no folder that can be written to; choose another output_dir"
    ]


@pytest.mark.parametrize(
    ("content", "mode", "finding"),
    [
        (
            None,
            0o600,
            "error: cluster.env_file: {} cannot be read: No such file or directory; correct the path",
        ),
        (
            "A=1\n# b\nHF_TOKEN hf_x\n",
            0o600,
            "error: cluster.env_file: {}, line 3 is no NAME=value; correct it",
        ),
        ("RANK=1", 0o600, "error: cluster.env_file: {}, line 1: RANK is set by the launcher; remove it"),
        ("HF_TOKEN=hf_x", 0o644, "warning: cluster.env_file: others than you may read {}; chmod 600 {}"),
        ("export HF_TOKEN='hf_x'\n", 0o600, None),
    ],
)
def test_the_file_of_secrets_is_looked_at_and_none_of_it_told(
    content: str | None, mode: int, finding: str | None
):
    path = Path("secrets.env")
    if content is not None:
        path.write_text(content)
        path.chmod(mode)

    found = told(("[cluster]", '[cluster]\nenv_file = "secrets.env"'))
    assert found == ([] if finding is None else [finding.format(path, path)])


def test_a_dataset_that_no_stage_reads_is_a_warning():
    unused = ("[stages.expand]", '[datasets.spare]\nsources = "one.parquet"\n\n[stages.expand]')

    assert told(unused) == [
        'warning: datasets.spare: no training stage reads it; write dataset = "spare" in one, or remove it'
    ]


def test_a_package_that_is_not_installed_is_found():
    findings = check(manifest(), packages=("pydantic", "no-such-package"), free_bytes=10**15)

    assert list(map(str, findings)) == [
        "error: the Python package no-such-package is not installed; install this project with pip"
    ]


def test_looking_changes_nothing():
    before = sorted(Path.cwd().rglob("*"))
    found = manifest()
    check(found, free_bytes=0)

    assert sorted(set(Path.cwd().rglob("*")) - {Path.cwd() / "m.toml"}) == before
    assert not os.path.lexists("runs")
