"""A Qdrant test server as a process: started, killed, frozen and started again on the same folder and port.

The engine is the real one; the REST layer is ours (see qdrant_rest). ``TEST_QDRANT_URL`` and
``TEST_QDRANT_API_KEY`` point tests that need no control over the server at another one.
"""

import atexit
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
STARTS_WITHIN = 30.0
FLUSH_SECONDS = 2.0


class QdrantServer:
    """For one test or one run; ``stop`` it."""

    def __init__(
        self, folder: Path, *, api_key: str | None = None, flush_seconds: float = FLUSH_SECONDS
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._flush_seconds = flush_seconds
        self._folder = folder
        self._api_key = api_key
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def port(self) -> int:
        return self._port

    def start(self) -> "QdrantServer":
        assert self._process is None
        command = [sys.executable, "-m", "tests.support.qdrant_rest", str(self._folder), str(self._port)]
        self._process = subprocess.Popen(
            [*command, str(self._flush_seconds), *([self._api_key] if self._api_key else [])],
            cwd=ROOT,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
        )
        self._wait_until_ready()
        return self

    def kill(self) -> None:
        """As by kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        if self._process is not None:
            self.thaw()
            self._end(signal.SIGTERM)

    def restart(self) -> None:
        self.stop()
        self.start()

    def restore(self) -> None:
        """Let it run if it was killed or frozen."""
        if self._process is None:
            self.start()
        self.thaw()

    def freeze(self) -> None:
        """It goes on accepting connections (the kernel does) and answers nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _end(self, by: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(by)
        try:
            self._process.wait(STARTS_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _signal(self, which: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(which)

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + STARTS_WITHIN
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(f"the Qdrant test server ended with {self._process.returncode}")
            try:
                with urllib.request.urlopen(f"{self.url}/readyz", timeout=2):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.02)
        raise RuntimeError(f"the Qdrant test server did not answer within {STARTS_WITHIN} s")


@cache
def shared_server() -> tuple[str, str | None]:
    """URL and API key of the server of this run: the one named by the environment, else one of our own."""
    if url := os.environ.get("TEST_QDRANT_URL"):
        return url, os.environ.get("TEST_QDRANT_API_KEY")
    folder = Path(tempfile.mkdtemp(prefix="gristmill-qdrant-"))
    server = QdrantServer(folder).start()

    def end() -> None:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)
    return server.url, None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
