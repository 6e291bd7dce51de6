"""Determinism reaches torch and its compiler."""

import subprocess
import sys


def test_deterministic_makes_torch_and_its_compiler_so():
    script = (
        "import torch; from onerec.train.determinism import make_deterministic;"
        "make_deterministic();"
        "import torch._inductor.config as inductor;"
        "print(torch.are_deterministic_algorithms_enabled(), inductor.deterministic)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]
