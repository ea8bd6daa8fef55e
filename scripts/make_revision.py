"""Writes the next step of the schema: what turns the newest revision into the tables of the code. For developers."""

import sys
import tempfile
from pathlib import Path

from alembic import command

from gristmill.stores.sql import migrations, opening, tables, tables_documents, tables_replication

MODULES = (tables, tables_documents, tables_replication)
(METADATA,) = {module.metadata for module in MODULES}  # Each has added its tables to the same one.
VERSIONS = Path(migrations.__file__).with_name("versions")


def make(name: str, folder: Path) -> Path:
    """The new file."""
    number = f"{int(opening.HEAD) + 1:04}"
    with tempfile.TemporaryDirectory() as scratch:
        database = Path(scratch) / "newest.db"
        opening.bring_up_to_date(database)
        with migrations.sqlite_transaction(database) as connection:
            config = migrations.config_of(connection)
            config.attributes["metadata"] = METADATA
            config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
            config.set_main_option(
                "version_locations", "\n".join(dict.fromkeys((str(VERSIONS), str(folder))))
            )
            config.set_main_option("path_separator", "newline")
            script = command.revision(
                config, name, autogenerate=True, rev_id=number, version_path=str(folder)
            )
    return Path(script.path)


def main(arguments: list[str]) -> int:
    name = " ".join(arguments).strip()
    if not name:
        print("Name what the step does: make revision NAME=what_it_does")
        return 2
    written = make(name, VERSIONS)
    print(f"Wrote {written}.")
    print(
        f"Now add '{written.name[:4]}' to REVISIONS in stores/sql/opening.py; make the step say the same to"
    )
    print("PostgreSQL (migrations/columns.py); and let LOST tell users what its downgrade loses.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
