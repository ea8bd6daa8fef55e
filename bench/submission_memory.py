"""`python -m bench.submission_memory PATH COUNT BATCH_ID`: a submission in a process of its own; prints its peak memory in MiB."""

import resource
import sys
from pathlib import Path
from uuid import UUID

from bench.engine_work import run_submission


def peak_mebibytes() -> float:
    """Of this program alone: what ``getrusage`` says includes the process that started it, as it was then."""
    try:
        lines = Path("/proc/self/status").read_text("ascii").splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


if __name__ == "__main__":
    run_submission(Path(sys.argv[1]), int(sys.argv[2]), UUID(sys.argv[3]))
    print(peak_mebibytes())
