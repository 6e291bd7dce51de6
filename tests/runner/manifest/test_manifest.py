"""A manifest is understood whole, or every fault of it is told at once with place and remedy."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st

from onerec.config import Columns, Dataset, Policy, StageSource, Training, class_of
from runner.manifest import Manifest, ManifestError, dump, load, restore
from runner.manifest.faults import Fault, printable
from runner.manifest.positions import paths_of
from runner.manifest.tables import (
    BuildDataStage,
    Cluster,
    EvaluateStage,
    ExpandVocabStage,
    InitModelStage,
    ItemVocab,
    Model,
    Notify,
    Slurm,
    TestModelStage,
    TrainStage,
)
from runner.manifest.validate import understand

WRITTEN = """\
name = "demo"

[model]
base_model_dir = "models/Qwen3"

[vocab]
vocab_size_per_layer = 64

[cluster]
launcher = "torchrun"
nproc_per_node = 2

[datasets.pretrain]
sources = { stage = "data", name = "pretrain" }
max_length = 2048

[datasets.sft]
sources = ["more/*.parquet", "s3://bucket/sft/"]

[training]
min_lr = 1e-5

[stages.data]
kind = "build_data"
source = "movielens-100k"

[stages.expand]
kind = "expand_vocab"

[stages.stage1]
kind = "train"
dataset = "pretrain"
freeze_llm = true
learning_rate = 1e-3

[stages.sft]
kind = "train"
dataset = "sft"
learning_rate = 1e-4

[stages.test]
kind = "test_model"
heldout = { stage = "data", name = "test" }
"""


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)


def faults_of(text: str | bytes, overrides: tuple[str, ...] = ()) -> list[Fault]:
    Path("m.toml").write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ManifestError) as raised:
        load("m.toml", overrides)
    return list(raised.value.faults)


def headlines(text: str | bytes, overrides: tuple[str, ...] = ()) -> list[str]:
    return [str(fault).splitlines()[0] for fault in faults_of(text, overrides)]


CORPUS = Path(__file__).with_name("wrong_manifests.txt")
BLOCKS = CORPUS.read_text(encoding="utf-8").rstrip("\n").split("\n\n")


def manifest_of(block: str) -> bytes:
    """WRITTEN with lines taken out (-) and put there or at the end (+), or a text of its own (=)."""
    out, new, own = ([line[2:] for line in block.split("\n") if line[0] == mark] for mark in "-+=")
    old = "\n".join(out)
    assert not old or WRITTEN.count(old + "\n") == 1, old
    lines = "\n".join(new)
    text = "\n".join(own) if own else WRITTEN.replace(old, lines) if old else f"{WRITTEN}{lines}\n"
    return re.sub(rb"\\x([0-9a-f]{2})", lambda found: bytes.fromhex(found[1].decode()), text.encode())


SECRETS = {
    "hf_secret": "*" * 9,
    '"k"': '"*"',
    "key:secret@": "*" * 10 + "@",
    "secret_key=abc": "secret_key=***",
}
"""What is written in the corpus as secrets, and how it is shown."""


def whole_message(told: list[str], data: bytes) -> str:
    """The headlines, and under each that has a place its line and a caret."""
    lines = data.decode("latin-1" if b"\xe9" in data else "utf-8-sig", "replace").split("\n")
    parts = []
    for headline in told:
        parts.append(headline)
        place = re.match(r"m\.toml:(\d+):(\d+): ", headline)
        if place and "is not UTF-8" not in headline:
            line, column = lines[int(place[1]) - 1], int(place[2])
            for secret, stars in SECRETS.items():
                line = line.replace(secret, stars)
            indent = "".join(
                "\t" if mark == "\t" else " " for mark in printable(line[: column - 1], keep="\t")
            )
            parts += [f"    {printable(line, keep=chr(9))}", f"    {indent}^"] if line else []
    return "\n".join(parts)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split("\n!")[0].split("\n")[-1][2:50])
def test_everything_that_is_wrong_is_told_with_place_and_remedy(block: str):
    data = manifest_of(block)
    found = faults_of(data)
    if "UPDATE_GOLDEN" in os.environ:
        kept = [line for line in block.split("\n") if line[0] != "!"]
        fresh = "\n".join([*kept, *(f"! {str(fault).splitlines()[0]}" for fault in found)])
        CORPUS.write_text(CORPUS.read_text(encoding="utf-8").replace(block, fresh, 1), encoding="utf-8")
        return

    told = [line[2:] for line in block.split("\n") if line[0] == "!"]
    assert str(ManifestError(found)) == whole_message(told, data)
    assert [fault.line or 10**9 for fault in found] == sorted(fault.line or 10**9 for fault in found)
    assert len({(fault.line, fault.column, fault.place, fault.message) for fault in found}) == len(found)
    assert all(fault.remedy for fault in found)


def test_the_corpus_is_large_and_holds_no_case_twice():
    cases = [manifest_of(block) for block in BLOCKS]

    assert len(cases) == len(set(cases)) > 250


def test_a_fault_shows_the_line_it_is_about_and_a_caret_under_the_key():
    line = 'env = {\tNCCL_DEBUG = "A", N = 3 } # \u202e'
    (fault,) = faults_of(WRITTEN.replace("nproc_per_node = 2", line))

    assert fault == Fault(
        file="m.toml",
        line=11,
        column=27,
        place="cluster.env.N",
        message="3 is not a text",
        remedy='write "3", with quotes',
        source_line=line,
        code="wrong-type",
    )
    assert str(fault) == (
        'm.toml:11:27: cluster.env.N: 3 is not a text; write "3", with quotes\n'
        '    env = {\tNCCL_DEBUG = "A", N = 3 } # \\u202e\n'
        "           \t                  ^"
    )


def test_the_error_holds_every_fault_and_is_a_mistake_of_the_manifest():
    error = ManifestError(faults_of("name = 1\nnane = 2\n"))

    assert error.exit_code == 2
    assert str(error) == (
        'm.toml:1:1: name: 1 is not a text; write "1", with quotes\n    name = 1\n    ^\n'
        "m.toml:2:1: unknown key 'nane'; did you mean 'name'?\n    nane = 2\n    ^\n"
        "m.toml: missing key 'stages'; add [stages.NAME] with its kind"
    )


def test_faults_of_values_do_not_hide_those_of_references():
    text = WRITTEN.replace("learning_rate = 1e-4", 'learning_rate = "high"\nstarts_from = "stage9"')

    assert headlines(text) == [
        'm.toml:39:1: stages.sft.learning_rate: "high" is not a number; write one, such as 1e-4',
        "m.toml:40:1: stages.sft.starts_from: there is no stage 'stage9'; did you mean 'stage1'?",
    ]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'name = "\xff"\n', "m.toml:1:9: byte 0xff is not UTF-8; save the file as UTF-8"),
        (
            b"a = 1\r\nb = \r\n",
            "m.toml:2:5: there is no value after the '='; write one, or remove the line to have the default",
        ),
        (
            b"a = " + b"[" * 5000,
            "m.toml: lists or tables lie too deep in each other; close the brackets that are open",
        ),
        (
            b"a = " + b"9" * 5000,
            "m.toml: a number has too many digits; write one below 2**63, or a text in quotes",
        ),
        (
            b"a = [\n",
            "m.toml:2:1: a list is not closed, or a comma is missing in it; add ',' or ']' before this",
        ),
    ],
    ids=["encoding", "windows", "nested", "huge", "unclosed"],
)
def test_a_text_that_is_no_toml_is_one_fault(content: bytes, told: str):
    assert headlines(content) == [told]


def test_a_file_that_cannot_be_read_is_one_fault(tmp_path: Path):
    for path in ("absent.toml", tmp_path):
        with pytest.raises(ManifestError, match=r"cannot be read: .*; give the path of a manifest"):
            load(path)


def loaded(text: str = WRITTEN, overrides: tuple[str, ...] = ()) -> Manifest:
    Path("m.toml").write_text(text, encoding="utf-8")
    return load("m.toml", overrides).manifest


def test_a_manifest_is_understood_with_defaults_filled_and_input_paths_beside_it(tmp_path: Path):
    assert loaded() == Manifest(
        name="demo",
        model=Model(base_model_dir=f"{tmp_path}/models/Qwen3"),
        vocab=ItemVocab(vocab_size_per_layer=64),
        cluster=Cluster(launcher="torchrun", nproc_per_node=2),
        datasets={
            "pretrain": Dataset(sources=StageSource(stage="data", name="pretrain"), max_length=2048),
            "sft": Dataset(sources=(f"{tmp_path}/more/*.parquet", "s3://bucket/sft/")),
        },
        training={"min_lr": 1e-5},
        stages={
            "data": BuildDataStage(kind="build_data", source="movielens-100k"),
            "expand": ExpandVocabStage(kind="expand_vocab"),
            "stage1": TrainStage(
                kind="train", dataset="pretrain", freeze_llm=True, learning_rate=1e-3, min_lr=1e-5
            ),
            "sft": TrainStage(kind="train", dataset="sft", learning_rate=1e-4, min_lr=1e-5),
            "test": TestModelStage(kind="test_model", heldout=StageSource(stage="data", name="test")),
        },
    )


def test_stages_keep_the_order_in_which_they_are_written():
    assert list(loaded().stages) == ["data", "expand", "stage1", "sft", "test"]


def test_a_stage_overrides_a_default_of_training():
    text = WRITTEN.replace("freeze_llm = true", "freeze_llm = true\nmin_lr = 5e-6")
    stages = loaded(text).stages

    assert [stages[name].min_lr for name in ("stage1", "sft")] == [5e-6, 1e-5]


def test_every_input_path_is_relative_to_the_folder_of_the_manifest_and_output_dir_is_not(tmp_path: Path):
    Path("deep").mkdir()
    Path("deep/m.toml").write_text(
        """\
name = "paths"
output_dir = "runs"
cluster = { launcher = "mpirun", hostfile = "hosts" }
[datasets.a]
sources = ["list.json", "/data/b", "hdfs://n/c", { stage = "data", name = "sft" }]
[stages.data]
kind = "build_data"
source = "movielens-100k"
path = "ml"
[stages.base]
kind = "init_model"
tokenizer_dir = "tok"
[stages.sft]
kind = "train"
dataset = "a"
learning_rate = 1e-4
resume_from = "/other/stage1"
[stages.test]
kind = "test_model"
test_cases = "../cases.json"
""",
        encoding="utf-8",
    )
    manifest = load("deep/m.toml").manifest
    folder = f"{tmp_path}/deep"

    assert manifest.output_dir == "runs"
    assert manifest.cluster.hostfile == f"{folder}/hosts"
    assert manifest.datasets["a"].sources == (
        f"{folder}/list.json",
        "/data/b",
        "hdfs://n/c",
        StageSource(stage="data", name="sft"),
    )
    assert manifest.stages["data"].path == f"{folder}/ml"
    assert manifest.stages["base"].tokenizer_dir == f"{folder}/tok"
    assert manifest.stages["sft"].resume_from == "/other/stage1"
    assert manifest.stages["test"].test_cases == f"{folder}/../cases.json"


def test_the_resolved_manifest_is_json_with_sorted_keys_and_gives_the_manifest_back():
    manifest = loaded()
    text = dump(manifest)
    document = json.loads(text)

    assert text == json.dumps(document, indent=2, sort_keys=True) + "\n"
    assert document["stage_order"] == list(manifest.stages)
    assert document["stages"]["sft"]["beta2"] == 0.95
    assert load("m.toml").resolved == document
    assert restore(text) == manifest
    assert list(restore(text).stages) == list(manifest.stages)


def test_overrides_are_laid_over_the_text_and_recorded():
    overrides = (
        "stages.sft.learning_rate=5e-5",
        "stages.sft.learning_rate=6e-5",
        "training.min_lr=0",
        "model.base_model_dir=/models/other",
        "datasets.sft.sources=['x.parquet']",
        "cluster.env={ A = '1' }",
        "seed = 7",
        'stages."stage1".compile = "off"',
    )
    Path("m.toml").write_text(WRITTEN, encoding="utf-8")
    found = load("m.toml", overrides)
    manifest = found.manifest

    assert found.overrides == overrides
    assert found.text == WRITTEN.encode()
    assert manifest.stages["sft"].learning_rate == 6e-5
    assert [manifest.stages[name].min_lr for name in ("stage1", "sft")] == [0, 0]
    assert manifest.model.base_model_dir == "/models/other"
    assert manifest.datasets["sft"].sources == (str(Path("x.parquet").absolute()),)
    assert manifest.cluster.env == {"A": "1"}
    assert manifest.seed == 7
    assert manifest.stages["stage1"].compile == "off"


@pytest.mark.parametrize(
    ("override", "told"),
    [
        (
            "stages.sft.learnig_rate=1",
            "--set stages.sft.learnig_rate=1: stages.sft: unknown key 'learnig_rate'; "
            "did you mean 'learning_rate'?",
        ),
        ("seed=x", '--set seed=x: seed: "x" is not a whole number; write one, such as 100'),
        ("stages.stf.seed=1", "--set stages.stf.seed=1: there is no stages.stf; did you mean 'sft'?"),
        (
            "stages.sft.dataset=pretrian",
            "--set stages.sft.dataset=pretrian: stages.sft.dataset: there is no dataset 'pretrian'; "
            "did you mean 'pretrain'?",
        ),
        ("seed", "--set seed: there is no '='; write it as stages.stage2.learning_rate=5e-5"),
        ("a b=1", "--set a b=1: 'a b' is no place; write it as stages.stage2.learning_rate"),
        ("name.x=1", "--set name.x=1: name is no table; set it as a whole"),
        ("seed=[1", "--set seed=[1: '[1' is no TOML value; quote it for the shell and for TOML"),
        ("seed=", "--set seed=: '' is no TOML value; quote it for the shell and for TOML"),
        ("seed=1\nname=2", "--set seed=1\\nname=2: there is more than one value; give one --set for each"),
    ],
)
def test_a_wrong_override_is_told_with_the_override_as_its_place(override: str, told: str):
    assert headlines(WRITTEN, (override,)) == [told]


def test_an_override_mends_what_is_wrong_in_the_text():
    text = WRITTEN.replace("learning_rate = 1e-4", "learning_rate = 0")

    assert loaded(text, ("stages.sft.learning_rate=2e-4",)).stages["sft"].learning_rate == 2e-4


SECTIONS = (
    *(Manifest, Model, ItemVocab, Cluster, Slurm, Notify, Dataset, Training, Columns, Policy),
    *(BuildDataStage, InitModelStage, ExpandVocabStage, TrainStage, TestModelStage, EvaluateStage),
)


def test_every_key_has_a_class_and_only_these_do_not_change_results():
    classes = {
        f"{section.__name__}.{key}": class_of(section, key)
        for section in SECTIONS
        for key in section.model_fields
    }
    of_training = {
        "save_checkpoint_per_step": "cosmetic",
        "save_checkpoint_per_minutes": "cosmetic",
        "keep_checkpoints": "cosmetic",
        "keep_every": "cosmetic",
        "logging_per_step": "cosmetic",
        "monitor_datasource_loss": "cosmetic",
        "monitor_datasource_cnt": "cosmetic",
        "enable_profiler": "cosmetic",
        "profiler_steps": "cosmetic",
        "trackers": "cosmetic",
        "loss_spike_deviations": "cosmetic",
        "validation_per_step": "cosmetic",
        "max_validation_packs": "cosmetic",
        "enable_gradient_checkpointing": "speed",
        "activation_checkpointing": "speed",
        "sharding": "speed",
        "deterministic": "speed",
        "reshard_after_forward": "speed",
        "compile": "speed",
    }

    assert {name: kind for name, kind in classes.items() if kind != "result"} == {
        "Manifest.name": "cosmetic",
        "Manifest.output_dir": "cosmetic",
        "Manifest.notify": "cosmetic",
        **{f"Notify.{key}": "cosmetic" for key in Notify.model_fields},
        **{f"Cluster.{key}": "topology" for key in Cluster.model_fields},
        **{f"Slurm.{key}": "topology" for key in Slurm.model_fields},
        "Dataset.num_workers": "speed",
        "Dataset.num_processes": "speed",
        "BuildDataStage.download": "cosmetic",
        "EvaluateStage.batch_size": "speed",
        **{f"Training.{key}": kind for key, kind in of_training.items()},
        **{f"TrainStage.{key}": kind for key, kind in of_training.items()},
    }


def test_loading_a_manifest_imports_nothing_heavy():
    heavy = "{'torch', 'numpy', 'pyarrow', 'transformers', 'typer', 'rich', 'jsonschema'}"
    script = f"import sys, runner.manifest, runner.preflight; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )

    assert done.stdout == "[]\n"


ROOT = Path(__file__).parents[3]
DOCUMENT = tomli.loads(WRITTEN)
PLACES = sorted(map(tuple, paths_of(DOCUMENT)), key=str)
ANY_VALUE = st.recursive(
    st.sampled_from(
        ["", "data", "sft", "train", "a/b", -1, 0, 3, 1.5, float("inf"), True, date(2026, 8, 17)]
    ),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["stage", "name", "kind", "dataset", "0", "x y"]), inner, max_size=3
        )
    ),
    max_leaves=5,
)


@given(
    st.lists(st.tuples(st.sampled_from(PLACES), st.sampled_from(["", "x", "kind"]), ANY_VALUE), max_size=4)
)
def test_whatever_is_written_it_is_either_understood_or_told_what_is_wrong(changes: list[tuple]):
    document = copy.deepcopy(DOCUMENT)
    for path, below, value in changes:
        table = document
        for part in path[:-1]:
            table = table.get(part, {}) if isinstance(table, dict) else {}
        if isinstance(table, dict) and below and isinstance(table.get(path[-1]), dict):
            table[path[-1]][below] = value
        elif isinstance(table, dict):
            table[path[-1]] = value

    manifest, problems = understand(document)

    assert (manifest is None) == bool(problems)
    assert all(problem.message and problem.path for problem in problems)
    if manifest is not None:
        assert restore(dump(manifest)) == manifest
