"""Nothing in the house starts a shell, runs text as code, or unpickles whatever comes, by its source."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NEVER_CALLED = {
    "os.system": "starts a shell",
    "os.popen": "starts a shell",
    "subprocess.getoutput": "starts a shell",
    "subprocess.getstatusoutput": "starts a shell",
    "asyncio.create_subprocess_shell": "starts a shell",
    "eval": "runs text as code",
    "exec": "runs text as code",
    "compile": "runs text as code",
    "code.interact": "runs text as code",
    "runpy.run_path": "runs text as code",
    "tempfile.mktemp": "makes a file that somebody else may have put there",
    "yaml.unsafe_load": "runs what it reads",
    "yaml.unsafe_load_all": "runs what it reads",
    "yaml.full_load": "runs what it reads",
    "shelve.open": "unpickles",
    **{
        f"{module}.{name}": "unpickles"
        for module in ("pickle", "_pickle", "dill", "cloudpickle", "marshal", "joblib")
        for name in ("load", "loads", "Unpickler")
    },
}
MUST_SAY = {"torch.load": ("weights_only", True), "yaml.load": ("Loader", "yaml.SafeLoader")}
"""Calls that are safe with one argument only."""
MUST_NOT_SAY = {
    "shell": "starts a shell",
    "trust_remote_code": "runs code of a model's folder",
    "allow_pickle": "unpickles",
}
"""Keyword arguments that nothing may get, unless they are plainly False."""


def faults(root: Path) -> list[str]:
    """Every dangerous call below a root that holds `runner` and `onerec`."""
    found = []
    for path in sorted([*root.glob("runner/**/*.py"), *root.glob("onerec/**/*.py")]):
        tree = ast.parse(path.read_bytes())
        names = imported(tree)
        for node in unguarded(tree):
            place = f"{path.relative_to(root)}:{getattr(node, 'lineno', 0)}"
            found += [f"{place} {what}" for what in dangers(node, names)]
    return found


def unguarded(tree: ast.AST) -> list[ast.AST]:
    """Every node that counts: a class that says what may be unpickled may build on the one that unpickles."""
    guarded = [
        base
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and any(isinstance(below, ast.FunctionDef) and below.name == "find_class" for below in node.body)
        for base in node.bases
    ]
    return [node for node in ast.walk(tree) if node not in guarded]


def imported(tree: ast.AST) -> dict[str, str]:
    """What each name that a file imports stands for, in full."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.split(".")[0]
                names[alias.asname or first] = alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom):
            names.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})
    return names


def dangers(node: ast.AST, names: dict[str, str]) -> list[str]:
    """What is dangerous about a node: a name that is used at all, or an argument of a call."""
    if isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Load):
        what = NEVER_CALLED.get(full_name(node, names))
        return [f"{full_name(node, names)} {what}"] if what else []
    if isinstance(node, ast.Dict):
        keys = [key.value for key in node.keys if isinstance(key, ast.Constant)]
        return [f"{key!r} as a key {MUST_NOT_SAY[key]}" for key in keys if key in MUST_NOT_SAY]
    return arguments(node, names) if isinstance(node, ast.Call) else []


def arguments(call: ast.Call, names: dict[str, str]) -> list[str]:
    said = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
    found = [
        f"{name}= {MUST_NOT_SAY[name]}"
        for name, value in said.items()
        if name in MUST_NOT_SAY and not (isinstance(value, ast.Constant) and value.value is False)
    ]
    called = full_name(call.func, names)
    if called in MUST_SAY:
        name, wanted = MUST_SAY[called]
        value = said.get(name)
        given = value.value if isinstance(value, ast.Constant) else full_name(value, names)
        found += [] if given == wanted else [f"{called} without {name}={wanted}"]
    return found


def full_name(node: ast.AST | None, names: dict[str, str]) -> str:
    """`os.path.join` of a name as it is used; empty for what is no name."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        before = full_name(node.value, names)
        return f"{before}.{node.attr}" if before else ""
    return ""


def test_the_house_runs_no_text_as_code():
    assert faults(ROOT) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import subprocess\nsubprocess.run('x', shell=True)", "2 shell= starts a shell"),
        ("from subprocess import Popen\nPopen(a, shell=flag)", "2 shell= starts a shell"),
        ("run(**{'shell': True})", "1 'shell' as a key starts a shell"),
        ("import os\nos.system('x')", "2 os.system starts a shell"),
        ("from os import system as go\ngo('x')", "2 os.system starts a shell"),
        ("import os as o\no.popen('x')", "2 os.popen starts a shell"),
        ("import subprocess\nsubprocess.getoutput('x')", "2 subprocess.getoutput starts a shell"),
        ("eval('1')", "1 eval runs text as code"),
        ("run = exec", "1 exec runs text as code"),
        ("import pickle\npickle.load(file)", "2 pickle.load unpickles"),
        ("from pickle import loads\nloads(data)", "2 pickle.loads unpickles"),
        ("import pickle as p\np.Unpickler(file)", "2 pickle.Unpickler unpickles"),
        (
            "import pickle\nclass Reader(pickle.Unpickler):\n    x = 1",
            "2 pickle.Unpickler unpickles",
        ),
        ("import torch\ntorch.load(path)", "2 torch.load without weights_only=True"),
        ("import torch\ntorch.load(path, weights_only=False)", "2 torch.load without weights_only=True"),
        ("from torch import load\nload(path, weights_only=x)", "2 torch.load without weights_only=True"),
        ("import numpy\nnumpy.load(path, allow_pickle=True)", "2 allow_pickle= unpickles"),
        ("import yaml\nyaml.load(text)", "2 yaml.load without Loader=yaml.SafeLoader"),
        ("import yaml\nyaml.load(text, Loader=yaml.Loader)", "2 yaml.load without Loader=yaml.SafeLoader"),
        (
            "Model.from_pretrained(x, trust_remote_code=True)",
            "1 trust_remote_code= runs code of a model's folder",
        ),
        ("read(x, trust_remote_code=asked)", "1 trust_remote_code= runs code of a model's folder"),
        (
            "import tempfile\ntempfile.mktemp()",
            "2 tempfile.mktemp makes a file that somebody else may have put there",
        ),
    ],
)
@pytest.mark.parametrize("part", ["runner/deep/new.py", "onerec/new.py"])
def test_a_dangerous_call_is_found(part: str, text: str, told: str, tmp_path: Path):
    (tmp_path / part).parent.mkdir(parents=True)
    (tmp_path / part).write_text(text)

    assert faults(tmp_path) == [f"{part}:{told}"]


@pytest.mark.parametrize(
    "text",
    [
        "import torch\ntorch.load(path, weights_only=True)",
        "import re\nre.compile('x')",
        "class Compute:\n    compile: str = 'off'",
        "import pickle\nclass Reader(pickle.Unpickler):\n    def find_class(self, module, name): ...",
        "model.eval()",
        "import torch\ntorch.compile(model)",
        "import numpy as np\nnp.load(path, allow_pickle=False)",
        "import json\njson.load(file)",
        "read(x, trust_remote_code=False)",
        "import yaml\nyaml.load(text, Loader=yaml.SafeLoader)",
    ],
)
def test_what_only_looks_dangerous_is_let_be(text: str, tmp_path: Path):
    (tmp_path / "runner").mkdir()
    (tmp_path / "runner/new.py").write_text(text)

    assert faults(tmp_path) == []
