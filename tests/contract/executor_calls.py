"""Functions to run in pool processes. Apart from the tests, so that a pool process need not import pytest."""

import ctypes
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from gristmill.domain.failures import FailureCategory, ItemError
from gristmill.executors.limits import ONE_THREAD_EACH

MIB = 1 << 20


def double(number):
    return 2 * number


def refuse(message):
    raise ItemError(FailureCategory.ENCRYPTED, message)


def stumble(message):
    raise KeyError(message)


def end_the_program():
    raise SystemExit(3)


def run_out_of_memory():
    raise MemoryError


def leave_a_mark(folder, name):
    Path(folder, name).touch()
    return name


def leave_a_mark_later(folder, name):
    time.sleep(0.01)
    return leave_a_mark(folder, name)


def count(folder, name):
    """One more line in the file of this name."""
    with Path(folder, name).open("a") as marks:
        marks.write("ran\n")


def doze(seconds, size=1):
    time.sleep(seconds)
    return b"z" * size


def fork_and_return(fifo):
    """Both the pool process and its child come back."""
    if os.fork() == 0:
        announce_pid(fifo, os.getpid())
    return os.getpid()


def marks_in(folder):
    return sum(1 for _ in Path(folder).iterdir())


class UnprintableError(Exception):
    def __str__(self):
        raise RuntimeError("no text")


def raise_unprintable():
    raise UnprintableError


def raise_surrogate():
    raise ValueError("caf\udce9.pdf")


def spin():
    while True:
        pass


def hold_the_interpreter_lock():
    re.match("(a+)+$", "a" * 64 + "b")


def exit_with(code):
    os._exit(code)


def read_address_zero():
    ctypes.string_at(0)


def die_of(number):
    os.kill(os.getpid(), number)
    signal.pause()


def outlive(number):
    os.kill(os.getpid(), number)
    return "alive"


def fill_and_hold(size):
    kept = [b"x" * MIB for _ in range(size // MIB)]
    signal.pause()
    return kept


def try_to_allocate(size):
    try:
        return len(bytearray(size))
    except MemoryError:
        return "refused"


def allocate_at_once(size):
    return len(bytearray(size))


def keep(size):
    globals()["kept"] = b"x" * size
    return os.getpid()


def print_a_lot(size):
    line = "x" * MIB
    for _ in range(size // MIB):
        sys.stdout.write(line)
        sys.stderr.write(line)
        os.write(1, line.encode())
    return "printed"


def read_everything():
    return sys.stdin.read()


def announce_and_hang(announce, hang):
    """Write the process to watch into the fifo, which blocks until somebody reads, then hang."""
    announce_pid(announce, subprocess.Popen(["sleep", "600"]).pid if hang == "program" else os.getpid())
    globals()["spin" if hang == "program" else hang]()


def start_a_program_and_exit(announce):
    announce_pid(announce, subprocess.Popen(["sleep", "600"]).pid)
    os._exit(7)


def fork_then_exit(announce):
    """Leave a child behind that holds every file of the pool process open, its connection too."""
    child = os.fork()
    if child == 0:
        signal.pause()
    announce_pid(announce, child)
    os._exit(7)


def close_every_file():
    os.closerange(3, 4096)
    signal.pause()


def announce_pid(fifo, pid):
    Path(fifo).write_text(str(pid))


def give_back_a_lock():
    return threading.Lock()


def give_back(size):
    return b"x" * size


class OneWay:
    """Pickles, and cannot be unpickled."""

    def __reduce__(self):
        return exit_politely, ()


def exit_politely():
    raise ValueError("I do not come back.")


def pid():
    return os.getpid()


def session_and_group():
    return os.getpid(), os.getsid(0), os.getpgrp()


def thread_settings():
    return {name: os.environ[name] for name in ONE_THREAD_EACH}
