"""The installed ``gristmill`` command in processes of its own, with a home of its own."""

import contextlib
import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import structlog

from gristmill.cli import main

GRISTMILL = str(Path(sys.executable).with_name("gristmill"))
LIMIT_SECONDS = 120


@dataclass(frozen=True)
class Ran:
    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """Stdout as the one JSON document it must be."""
        return json.loads(self.stdout)


class Shell:
    """Runs ``gristmill`` with nothing of the caller's settings; ``workers`` 1 keeps tests cheap."""

    def __init__(self, home: Path, **variables: str) -> None:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("GRISTMILL_", "POSTGRESQL_"))
        }
        ours = {
            "GRISTMILL_HOME": str(home),
            "GRISTMILL_EMBEDDER": "wordllama",
            "GRISTMILL_WORKERS": "1",
            "HOME": str(home.parent),
            "LANG": "C.UTF-8",
        }
        self.home = home
        self.environment = kept | ours | variables

    def run(
        self, *arguments: str | bytes, stdin: str | None = None, folder: Path | None = None, **variables: str
    ) -> Ran:
        process = self.start(*arguments, folder=folder, **variables)
        stdout, stderr = process.communicate(None if stdin is None else stdin.encode(), timeout=LIMIT_SECONDS)
        assert b"Traceback" not in stderr, stderr.decode()
        return Ran(process.returncode, stdout.decode(), stderr.decode())

    def start(
        self, *arguments: str | bytes, folder: Path | None = None, **variables: str
    ) -> subprocess.Popen[bytes]:
        command: Sequence[str | bytes] = [GRISTMILL, *arguments]
        return subprocess.Popen(
            command,
            cwd=folder,
            env=self.environment | variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run_in_terminal(self, *arguments: str, typed: str = "", **variables: str) -> Ran:
        """With all three streams on a terminal; what it shows is in ``stdout``."""
        ours, theirs = pty.openpty()
        environment = self.environment | {"TERM": "xterm-256color"} | variables
        process = subprocess.Popen(
            [GRISTMILL, *arguments],
            env=environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        os.write(ours, typed.encode())
        shown = b"".join(_read_terminal(ours))
        os.close(ours)
        return Ran(process.wait(LIMIT_SECONDS), shown.decode(), "")

    def json(self, *arguments: str | bytes, code: int = 0) -> Any:
        """The JSON that a command prints when it ends with ``code``."""
        ran = self.run(*arguments, "--json")
        assert ran.code == code, ran
        return ran.json

    def look(self, *arguments: str, code: int = 0) -> Any:
        """The JSON of a command that is not what the test is about: run in this process, which is cheap."""
        shown = io.StringIO()
        with mock.patch.dict(os.environ, self.environment, clear=True), contextlib.redirect_stdout(shown):
            ended = main.call([*arguments, "--json"])
        structlog.reset_defaults()
        assert ended == code, shown.getvalue()
        return json.loads(shown.getvalue())


def _read_terminal(terminal: int) -> Iterator[bytes]:
    """What is shown until the last program has closed the terminal, which Linux reports as an error."""
    with contextlib.suppress(OSError):
        while shown := os.read(terminal, 65536):
            yield shown
