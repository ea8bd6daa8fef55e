"""What a pool process does to itself before it runs anyone's code."""

import ctypes
import fcntl
import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_PR_SET_PDEATHSIG = 1
_SLACK_BYTES = 512 << 20

ONE_THREAD_EACH = {
    "BLIS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "VECLIB_MAXIMUM_THREADS": "1",
}
"""Environment of a pool process: the processes are the parallelism, threads inside them only queue up."""


def die_with_worker(lifeline: int, worker_pid: int) -> None:
    """Let the kernel kill this process and its children when the worker dies, even inside native code.

    The worker alone holds the other end of ``lifeline``; when that closes, the kernel sends SIGKILL to the
    whole process group. PR_SET_PDEATHSIG covers a worker that forked and so left a copy of that end behind,
    for this process only. Elsewhere than on Linux an idle process still sees its connection close.
    """
    if sys.platform != "linux":
        return
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    os.set_inheritable(lifeline, False)  # noqa: FBT003  # The parameter is positional-only.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != worker_pid:
        sys.exit("The worker died before its pool process had started.")


def be_first_to_go() -> None:
    """Ask the kernel to sacrifice this process before the worker when the machine runs out of memory."""
    with suppress(OSError):  # No such file outside Linux, or a read-only /proc: the limits still hold.
        Path("/proc/self/oom_score_adj").write_text("500")


def cap_memory(memory_limit_bytes: int) -> None:
    """Second net under the worker's look at resident memory, for a call that outruns it.

    RLIMIT_DATA counts private writable memory, touched or not. RLIMIT_AS would count mapped files and
    reserved address space too, of which native libraries take gigabytes they never use. Twice the limit,
    because growing buffers reserve double what they fill; the slack is for arenas, stacks and BLAS buffers.
    """
    _, ceiling = resource.getrlimit(resource.RLIMIT_DATA)
    cap = min(2 * memory_limit_bytes + _SLACK_BYTES, sys.maxsize)
    if ceiling != resource.RLIM_INFINITY:
        cap = min(cap, ceiling)
    resource.setrlimit(resource.RLIMIT_DATA, (cap, ceiling))


def own_resident_bytes() -> int:
    """Resident memory of this process; where there is no /proc, the most it ever was."""
    try:
        with open("/proc/self/statm", "rb") as counts:
            return int(counts.read().split()[1]) * _PAGE_BYTES
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak << 10
