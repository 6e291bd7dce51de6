"""Which part of the house may know which, held from the source itself."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RUNNER_MAY_USE = {
    "onerec.checkpoint.commit",
    "onerec.checkpoint.stretch",
    "onerec.config",
    "onerec.errors",
    "onerec.network",
    "onerec.progress",
    "onerec.pulse",
    "onerec.slurm_task",
    "onerec.vocab",
}
ABOVE_DATA_AND_MODEL = {
    "onerec.train",
    "onerec.convert",
    "onerec.export",
    "onerec.model_test",
    "onerec.evaluate",
    "onerec.expanded_tokenizer",
    "onerec.inspect_data",
    "onerec.preview",
    "onerec.__main__",
}
NO_TORCH = {
    "onerec.checkpoint.commit",
    "onerec.checkpoint.crash_points",
    "onerec.checkpoint.stretch",
    "onerec.config",
    "onerec.errors",
    "onerec.network",
    "onerec.progress",
    "onerec.pulse",
    "onerec.slurm_task",
    "onerec.vocab",
}


def faults(root: Path) -> list[str]:
    """Every broken rule below a root that holds `runner` and `onerec`."""
    found = []
    for path in sorted([*root.glob("runner/**/*.py"), *root.glob("onerec/**/*.py")]):
        module = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        tree = ast.parse(path.read_bytes())
        found += [f"{module} imports {used}" for used in imports(tree) if is_forbidden(module, used)]
        if module.startswith("runner") and module != "runner.cli.say":
            found += [f"{module} prints" for node in ast.walk(tree) if prints(node)]
    return found


def imports(tree: ast.AST) -> list[str]:
    """Full names of all modules that a file imports, inside functions and for type checkers too."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def is_forbidden(module: str, used: str) -> bool:
    if module.startswith("onerec") and is_in(used, {"runner"}):
        return True
    if module.startswith("runner"):
        return is_in(used, {"torch", "transformers"}) or (
            is_in(used, {"onerec"}) and not is_in(used, RUNNER_MAY_USE)
        )
    if module in NO_TORCH and is_in(used, {"torch", "transformers", "numpy"}):
        return True
    if is_in(module, {"onerec.items"}):
        return is_in(used, {"onerec.build", "onerec.data", "onerec.model", *ABOVE_DATA_AND_MODEL})
    if is_in(module, {"onerec.build"}):
        return is_in(used, {"onerec.train"})
    if is_in(module, {"onerec.data"}):
        return is_in(used, {"onerec.model", *ABOVE_DATA_AND_MODEL})
    if is_in(module, {"onerec.model"}):
        return is_in(used, {"onerec.data", *ABOVE_DATA_AND_MODEL})
    if is_in(module, {"onerec.checkpoint"}):
        return is_in(used, {"onerec.data", "onerec.model", *ABOVE_DATA_AND_MODEL})
    if is_in(module, {"onerec.train"}):
        return is_in(used, ABOVE_DATA_AND_MODEL - {"onerec.train"})
    return False


def is_in(name: str, packages: set[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def prints(node: ast.AST) -> bool:
    """Whether a node is `print`, `typer.echo`, or one of the standard streams."""
    if isinstance(node, ast.Name):
        return node.id == "print"
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return (node.value.id, node.attr) in {("sys", "stdout"), ("sys", "stderr"), ("typer", "echo")}
    return False


def test_the_house_keeps_its_layers() -> None:
    assert faults(ROOT) == []


@pytest.mark.parametrize(
    ("path", "text", "fault"),
    [
        ("onerec/data/order/pack.py", "import runner", "onerec.data.order.pack imports runner"),
        (
            "onerec/data/order/pack.py",
            "from onerec.model import build",
            "onerec.data.order.pack imports onerec.model.build",
        ),
        ("onerec/model/build.py", "from onerec import data", "onerec.model.build imports onerec.data"),
        ("onerec/model/build.py", "import onerec.train.loop", "onerec.model.build imports onerec.train.loop"),
        (
            "onerec/train/loop.py",
            "from onerec.convert import x",
            "onerec.train.loop imports onerec.convert.x",
        ),
        ("onerec/items/trie.py", "import onerec.data", "onerec.items.trie imports onerec.data"),
        ("onerec/items/beam.py", "from onerec import model", "onerec.items.beam imports onerec.model"),
        (
            "onerec/items/item_map.py",
            "from onerec.evaluate import tree",
            "onerec.items.item_map imports onerec.evaluate.tree",
        ),
        ("onerec/build/data.py", "import onerec.train.loop", "onerec.build.data imports onerec.train.loop"),
        ("onerec/config.py", "def f():\n    import torch", "onerec.config imports torch"),
        (
            "onerec/checkpoint/saver.py",
            "from onerec.train import step",
            "onerec.checkpoint.saver imports onerec.train.step",
        ),
        ("onerec/checkpoint/commit.py", "import torch", "onerec.checkpoint.commit imports torch"),
        (
            "runner/plan.py",
            "from onerec.checkpoint import saver",
            "runner.plan imports onerec.checkpoint.saver",
        ),
        ("runner/plan.py", "from onerec.train import loop", "runner.plan imports onerec.train.loop"),
        ("runner/plan.py", "import torch.cuda", "runner.plan imports torch.cuda"),
        ("runner/plan.py", "from onerec import model", "runner.plan imports onerec.model"),
        ("runner/report.py", "print(1)", "runner.report prints"),
        ("runner/report.py", "import sys\nsys.stdout.write('')", "runner.report prints"),
    ],
)
def test_a_planted_violation_is_found(tmp_path: Path, path: str, text: str, fault: str) -> None:
    planted = tmp_path / path
    planted.parent.mkdir(parents=True)
    planted.write_text(text)
    assert faults(tmp_path) == [fault]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("runner/cli/say.py", "print(1)"),
        ("runner/plan.py", "from onerec.config import Dataset\nimport onerec.vocab"),
        ("onerec/train/loop.py", "from onerec.data.loading import load\nfrom onerec.model import build"),
        ("onerec/convert.py", "from onerec.train import checkpoint"),
        ("onerec/train/hit_rate.py", "from onerec.items import trie"),
        ("onerec/build/data.py", "from onerec.items import item_map\nfrom onerec.data import source"),
    ],
)
def test_what_is_allowed_is_not_found(tmp_path: Path, path: str, text: str) -> None:
    allowed = tmp_path / path
    allowed.parent.mkdir(parents=True)
    allowed.write_text(text)
    assert faults(tmp_path) == []
