"""Running a command: settings, logs, the core and the event loop, each loaded when a command needs it."""
# ruff: noqa: PLC0415 - what a command does not need is not loaded: `--help` must not wait for a database driver.

import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from gristmill.ports.errors import ConfigurationError

if TYPE_CHECKING:
    from gristmill.engine.core import Core
    from gristmill.settings import Settings

_Value = TypeVar("_Value")


class SettingsError(ConfigurationError):
    """A setting cannot work as it is; nothing was opened."""


class Interruption(BaseException):
    """A signal stopped the command in an orderly way; ``advice`` says how to go on."""

    def __init__(self, number: int, advice: str = "Nothing was left half done.") -> None:
        super().__init__(number)
        self.number = number
        self.advice = advice

    @property
    def exit_code(self) -> int:
        return 128 + self.number

    def __str__(self) -> str:
        return f"Interrupted by {signal.Signals(self.number).name}. {self.advice}"


@dataclass(frozen=True, slots=True)
class Invocation:
    """What was said before the command: settings given as flags."""

    flags: dict[str, Any] = field(default_factory=dict)


def flags_of(context: typer.Context) -> dict[str, Any]:
    return (context.find_object(Invocation) or Invocation()).flags


def set_flag(context: typer.Context, name: str, value: Any) -> None:
    """Let an option of this command be a setting; None leaves the setting as it is."""
    if value is not None:
        invocation = context.find_object(Invocation)
        assert invocation is not None
        invocation.flags[name] = value


def settings_of(context: typer.Context) -> "Settings":
    """The settings in force; also sets up the logs. Raises SettingsError."""
    from gristmill import settings
    from gristmill.cli import logs

    try:
        found = settings.load(**flags_of(context))
    except ConfigurationError as error:
        raise SettingsError(str(error)) from error
    logs.configure(found.log_level)
    return found


def run(context: typer.Context, work: "Callable[[Core], Awaitable[_Value]]") -> _Value:
    """Open the core, await the work, close the core; raises Interruption after a signal."""
    settings = settings_of(context)
    from gristmill import wiring
    from gristmill.cli import loop

    return loop.run(wiring.build(settings), work)
