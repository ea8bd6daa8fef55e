"""The schema port for a database of a PostgreSQL server."""

from gristmill.stores.sql import postgres_opening
from gristmill.stores.sql.postgres import Server
from gristmill.stores.sql.schemas import AnySqlSchema


class PostgresSchema(AnySqlSchema):
    def __init__(self, server: Server) -> None:
        self._server = server
        self.where = str(server)

    def current(self) -> str | None:
        return postgres_opening.revision(self._server)

    def upgrade(self) -> None:
        postgres_opening.bring_up_to_date(self._server)

    def downgrade(self, revision: str) -> None:
        postgres_opening.downgrade(self._server, revision)
