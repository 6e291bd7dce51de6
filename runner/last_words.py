"""What the end of a log tells of why a program ended: its last exception, or the fault it told. Pure.

Standard library only: the shim of each rank uses it.
"""

from __future__ import annotations

import re
from typing import Literal

Kind = Literal["told", "out_of_gpu_memory", "lost_worker", "lost_peer", "exception"]
"""told: a fault that the program itself explained; lost_peer: another rank went away, or did not answer."""

LONGEST = 500
_TRACEBACK = "Traceback (most recent call last):"
_GROUP = re.compile(r"^  [|+] ", re.MULTILINE)
"""What Python puts before the lines of a group of exceptions."""
_TOLD = re.compile(r"^error: (?P<text>.+)$", re.MULTILINE)
_EXCEPTION = re.compile(r"^(?:\[rank\d+\]: ?)?(?P<text>[A-Za-z_][\w.]*(?:: .*)?)$")
_OUT_OF_GPU_MEMORY = re.compile(r"OutOfMemoryError|CUDA out of memory|CUDA error: out of memory")
_LOST_WORKER = re.compile(r"DataLoader worker \(pid(?:\(s\))? [\d, ]+\) (?:is killed|exited unexpectedly)")
_LOST_PEER = re.compile(
    r"Connection (?:reset|closed|refused)|Broken pipe|recvValue failed|Socket closed|socket has been closed"
    r"|DistNetworkError|DistBackendError|DistStoreError|remote process exited|Timed out waiting|wait timeout"
    r"|NCCL (?:error|WARN|timeout)|ncclRemoteError|ncclSystemError|Watchdog caught collective|EOFError"
    r"|Failed to (?:connect|recv)|No route to host|Network is unreachable|Software caused connection abort"
    r"|[Pp]eer closed|writev \[|readv \["
)


def last_words(text: str) -> tuple[Kind, str] | None:
    """What a log ends with: the kind of fault and its first line, cut at 500 characters; None for neither.

    A fault that was told in words goes before a traceback: it is written last, and for people.
    """
    text = _GROUP.sub("", text)
    told = list(_TOLD.finditer(text))
    at = text.rfind(_TRACEBACK)
    raised = _exception_after(text[at:]) if at >= 0 else None
    if told and (raised is None or told[-1].start() > at):
        line = told[-1]["text"]
        return _kind_of_told(line), line[:LONGEST]
    if raised is None:
        return None
    return _kind(raised), raised[:LONGEST]


def _exception_after(text: str) -> str | None:
    """The exception that a traceback ends with: the first line that is not indented and names one."""
    for line in text.splitlines()[1:]:
        if line[:1] in {" ", "\t", ""} or line.startswith(_TRACEBACK):
            continue
        found = _EXCEPTION.match(line.rstrip())
        if found:
            return found["text"]
    return None


def _kind_of_told(line: str) -> Kind:
    return "out_of_gpu_memory" if "out of memory" in line.lower() else "told"


def _kind(line: str) -> Kind:
    if _OUT_OF_GPU_MEMORY.search(line):
        return "out_of_gpu_memory"
    if _LOST_WORKER.search(line):
        return "lost_worker"
    return "lost_peer" if _LOST_PEER.search(line) else "exception"
