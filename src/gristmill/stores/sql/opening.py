"""Bringing the file to the schema this program knows: once, under a lock, whoever comes first."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from gristmill.ports.errors import ConfigurationError, SchemaOutOfDateError
from gristmill.stores.sql import sqlite

# Every revision in migrations/versions, oldest first. Kept here so that opening need not load Alembic.
REVISIONS = ("0001", "0002", "0003")
HEAD = REVISIONS[-1]
APPLICATION_ID = 0x47524D4C  # "GRML", in the header of our files.


def bring_up_to_date(path: Path, *, migrate: bool = True) -> None:
    """Create the database or migrate it; costs next to nothing when there is nothing to do.

    Blocks while another process does the same. Raises ConfigurationError when the file is not ours, is newer
    than this program, or cannot be written; without ``migrate`` also when anything would have to be done.
    """
    with sqlite.translated_errors(path), sqlite.translated_file_errors(path):
        found = _revision(path)
        if found == HEAD:
            return
        if not migrate:
            raise out_of_date(str(path), found)
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path.with_name(path.name + ".lock")):
            if _revision(path) != HEAD:
                _migrate(path)


def revision(path: Path) -> str | None:
    """The revision the file is at, None if there is nothing in it yet. Raises as ``bring_up_to_date`` does."""
    with sqlite.translated_errors(path), sqlite.translated_file_errors(path):
        return _revision(path)


def downgrade(path: Path, to: str) -> None:
    """Go back to an older revision; under the same lock, in one transaction."""
    from gristmill.stores.sql import migrations  # noqa: PLC0415

    lock = path.with_name(path.name + ".lock")
    with sqlite.translated_errors(path), sqlite.translated_file_errors(path), _locked(lock):
        migrations.downgrade(path, revision=to)


def out_of_date(where: str, found: str | None) -> SchemaOutOfDateError:
    holds = "no tables yet" if found is None else f"schema {found}"
    return SchemaOutOfDateError(
        f"{where} has {holds}, this Gristmill needs {HEAD}, and AUTO_MIGRATE is off. "
        "Bring it up to date with: gristmill db upgrade"
    )


def _revision(path: Path) -> str | None:
    """The revision the file is at, None if there is nothing in it yet."""
    if not path.exists() or path.stat().st_size == 0:
        return None
    if not os.access(path, os.W_OK) or not os.access(path.parent, os.W_OK):
        raise PermissionError(f"no permission to write to {path} or beside it")
    with closing(_connect(path)) as connection:
        (application_id,) = connection.execute("PRAGMA application_id").fetchone()
        if application_id == APPLICATION_ID:
            (revision,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            return _known(path, revision)
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables:
        raise ConfigurationError(
            f"{path} is an SQLite database of another program. Choose another path for Gristmill's database."
        )
    return None


def _known(path: Path, revision: str) -> str:
    if revision not in REVISIONS:
        raise ConfigurationError(
            f"{path} was written by a newer Gristmill (schema {revision}, this one knows {HEAD}). "
            "Install that version or a later one, or choose another path for the database."
        )
    return revision


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=sqlite.BUSY_SECONDS, isolation_level=None)


@contextmanager
def _locked(lock: Path) -> Iterator[None]:
    # The lock file stays: deleting it would let two processes lock two files of one name.
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _migrate(path: Path) -> None:
    with closing(_connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")

    # Only here: Alembic takes longer to load than everything else.
    from gristmill.stores.sql.migrations import upgrade  # noqa: PLC0415

    upgrade(path, application_id=APPLICATION_ID)
