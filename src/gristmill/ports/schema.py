"""The schema of a database that has revisions: which it is at, and moving it."""

from collections.abc import Sequence
from typing import Protocol


class Schema(Protocol):
    """``where``: the database as users know it. ``revisions``: all that this program knows, oldest first.

    Every method raises ConfigurationError when the database is not ours, is newer than this program or refuses, and
    StoreUnavailableError when it cannot be reached.
    """

    where: str
    revisions: Sequence[str]

    def current(self) -> str | None:
        """The revision it is at; None if there is nothing yet."""
        ...

    def upgrade(self) -> None:
        """Bring it to the newest revision, or change nothing; waits for others that do the same."""
        ...

    def downgrade(self, revision: str) -> None:
        """Take it back to an older revision that is known, or change nothing; what ``lost`` says is gone."""
        ...

    def lost(self, newer: str, older: str) -> Sequence[str]:
        """What going back from one revision to another loses, newest step first."""
        ...
