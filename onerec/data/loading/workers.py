"""Worker processes that die with whoever started them, and leave clean stops to the main process.

They come from a fork server, which has no threads: forking a process that has a CUDA context, gloo or Arrow
threads can hang, and starting each worker afresh would import torch each time.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import threading
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext

PR_SET_PDEATHSIG = 1
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)
"""Signals that ask for a clean stop; a launcher may send them to every process of a job."""


def worker_context(*modules: str) -> ForkServerContext:
    """Start method for workers; the fork server starts now and imports `modules` once for all of them.

    The server and its workers ignore STOP_SIGNALS from their first instruction on.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(modules))
    if threading.current_thread() is not threading.main_thread():
        forkserver.ensure_running()
        return context
    before = {number: signal.signal(number, signal.SIG_IGN) for number in STOP_SIGNALS}
    try:
        forkserver.ensure_running()  # what is ignored stays ignored across exec and fork
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return context


def begin_worker() -> None:
    """First act of a worker process: die with the process that wanted it, and ignore STOP_SIGNALS."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    # the kernel tells of the fork server's death, but the server lives as long as one of its workers
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_die_with_owner, daemon=True, name="die with owner").start()


def _die_with_owner() -> None:
    owner = multiprocessing.parent_process()
    if owner is not None:
        owner.join()
        os.kill(os.getpid(), signal.SIGKILL)
