"""The schema port on SQL; for PostgreSQL in ``postgres_schema``."""

from collections.abc import Sequence
from pathlib import Path

from gristmill.stores.sql import opening


class AnySqlSchema:
    revisions: Sequence[str] = opening.REVISIONS

    def lost(self, newer: str, older: str) -> Sequence[str]:
        # Only here: Alembic takes longer to load than everything else.
        from gristmill.stores.sql import migrations  # noqa: PLC0415

        return migrations.lost(newer, older)


class SqliteSchema(AnySqlSchema):
    def __init__(self, path: Path) -> None:
        self._path = path
        self.where = str(path)

    def current(self) -> str | None:
        return opening.revision(self._path)

    def upgrade(self) -> None:
        opening.bring_up_to_date(self._path)

    def downgrade(self, revision: str) -> None:
        opening.downgrade(self._path, revision)
