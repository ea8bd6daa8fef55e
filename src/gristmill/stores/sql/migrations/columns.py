"""What the steps need to say the same to every dialect."""

from typing import Any

import sqlalchemy as sa

# Compared by code point, whatever the locale of the server.
Text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def only(condition: str, *, on_postgres: str | None = None) -> dict[str, Any]:
    """Of a partial index: the rows it holds."""
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(on_postgres or condition)}
