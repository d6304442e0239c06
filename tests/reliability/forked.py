"""Code run in a process of its own that starts at once: forked off a server that has imported the workbench already."""

import multiprocessing
from multiprocessing.process import BaseProcess

_SERVER = multiprocessing.get_context("forkserver")
_OPTIMISERS = "torch._dynamo"
_SERVER.set_forkserver_preload(["workbench.cli", "workbench.training", "workbench.report", _OPTIMISERS])
_FIRST = """
import threading, torch, tqdm
torch.set_num_threads(1)
tqdm.tqdm.set_lock(threading.RLock())  # its own is a semaphore of the system, which a killed process leaves behind
"""


def start(code: str, **names: object) -> BaseProcess:
    """Starts a process that executes the code with these names in it, on one thread."""
    process = _SERVER.Process(target=exec, args=(_FIRST + code, names))
    process.start()
    return process
