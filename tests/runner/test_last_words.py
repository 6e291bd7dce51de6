from __future__ import annotations

import subprocess
import sys

import pytest

from runner.last_words import last_words

TRACEBACK = 'Traceback (most recent call last):\n  File "a.py", line 1, in <module>\n    f()\n'


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", None),
        ("step 1\nstep 2\n", None),
        (TRACEBACK + "ValueError: no such thing\n", ("exception", "ValueError: no such thing")),
        (TRACEBACK + "KeyboardInterrupt\n", ("exception", "KeyboardInterrupt")),
        (TRACEBACK + "a.b.OddError: of two\nlines: here\n", ("exception", "a.b.OddError: of two")),
        (f"[rank3]: {TRACEBACK}[rank3]: TypeError: no\n", ("exception", "TypeError: no")),
        (
            f"{TRACEBACK}KeyError: 1\n\nDuring handling of the above exception:\n\n{TRACEBACK}OSError: 2\n",
            ("exception", "OSError: 2"),
        ),
        (
            TRACEBACK + "torch.OutOfMemoryError: CUDA out of memory. Tried\n",
            ("out_of_gpu_memory", "torch.OutOfMemoryError: CUDA out of memory. Tried"),
        ),
        (
            TRACEBACK + "RuntimeError: DataLoader worker (pid 12) is killed by signal: Killed. \n",
            ("lost_worker", "RuntimeError: DataLoader worker (pid 12) is killed by signal: Killed."),
        ),
        (
            TRACEBACK + "RuntimeError: DataLoader worker (pid(s) 12, 13) exited unexpectedly\n",
            ("lost_worker", "RuntimeError: DataLoader worker (pid(s) 12, 13) exited unexpectedly"),
        ),
        (
            TRACEBACK + "RuntimeError: [../gloo/pair.cc:534] Connection closed by peer [127.0.0.1]:1\n",
            ("lost_peer", "RuntimeError: [../gloo/pair.cc:534] Connection closed by peer [127.0.0.1]:1"),
        ),
        (
            TRACEBACK + "torch.distributed.DistNetworkError: The client socket\n",
            ("lost_peer", "torch.distributed.DistNetworkError: The client socket"),
        ),
        ("error: model.toml is missing; name it\n", ("told", "model.toml is missing; name it")),
        (TRACEBACK + "ValueError: a\nerror: told in words; do b\n", ("told", "told in words; do b")),
        (
            "error: told first\n" + TRACEBACK + "ValueError: then this\n",
            ("exception", "ValueError: then this"),
        ),
        (
            "error: the GPU ran out of memory; lower max_length\n",
            ("out_of_gpu_memory", "the GPU ran out of memory; lower max_length"),
        ),
        (TRACEBACK + f"ValueError: {'x' * 900}\n", ("exception", f"ValueError: {'x' * 488}")),
    ],
)
def test_what_a_log_ends_with(text: str, found: tuple[str, str] | None) -> None:
    assert last_words(text) == found


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raise RuntimeError('one\\ntwo')", "RuntimeError: one"),
        (
            "def f():\n try:\n  1/0\n except ZeroDivisionError as e:\n  raise OSError('x') from e\nf()",
            "OSError: x",
        ),
        ("raise ExceptionGroup('many', [ValueError('inner')])", "ExceptionGroup: many (1 sub-exception)"),
        ("class Mine(Exception): pass\nraise Mine", "Mine"),
    ],
)
def test_real_tracebacks_of_python(code: str, words: str) -> None:
    if "Group" in code and sys.version_info < (3, 11):
        pytest.skip("Python 3.11 brought groups")
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr
    assert last_words(told) == ("exception", words)
