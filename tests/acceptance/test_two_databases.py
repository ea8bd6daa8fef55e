"""PostgreSQL and Qdrant at once, as a user runs them: either dies, comes back, and an installation moves between them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.postgres_server import PostgresServer
from tests.support.qdrant_server import QdrantServer
from tests.support.shell import Shell

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
QUESTION = "how long may unused goods be returned"
MOVED = ("faq.html", "returns-policy.md", "supplier-ratings.csv", "vozvratnaya-tara.txt")


class Two:
    def __init__(self, folder: Path) -> None:
        self.postgresql = PostgresServer(durable=True)
        self.postgresql.start()
        self.qdrant = QdrantServer(folder / "qdrant", api_key="s3cret-key")
        self.qdrant.start()
        self.variables = {
            "POSTGRESQL_URL": self.postgresql.url(),
            "QDRANT_URL": self.qdrant.url,
            "QDRANT_API_KEY": "s3cret-key",
            "GRISTMILL_FAILOVER_TIMEOUT_SECONDS": "5",
        }
        self.shell = Shell(folder / "home", **self.variables)

    def states(self) -> dict[str, str]:
        return {each["name"]: each["state"] for each in self.status()}

    def status(self) -> list[dict[str, Any]]:
        return list(self.shell.look("stores", "status")["databases"])

    def remove(self) -> None:
        self.qdrant.stop()
        self.postgresql.remove()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    made = Two(tmp_path_factory.mktemp("two"))
    yield made
    made.remove()


def ingest(two: Two, *names: str) -> dict[str, Any]:
    return dict(two.shell.look("ingest", *(str(EXAMPLES / name) for name in names)))


def found(two: Two) -> list[str]:
    results = two.shell.look("search", QUESTION, "--limit", "3")["results"]
    return [hit["chunk_id"] for hit in results]


def test_either_may_die_while_work_goes_on_and_both_hold_the_same_again(two: Two):
    ingest(two, "faq.html", "returns-policy.md")
    assert two.states() == {"postgresql": "serving", "qdrant": "standby"}
    hits = found(two)
    assert two.shell.look("stores", "verify")["count"] == 0

    two.postgresql.kill()
    ingest(two, "supplier-ratings.csv")
    assert two.states() == {"postgresql": "down", "qdrant": "serving"}
    assert found(two) == hits
    assert two.shell.look("search", QUESTION)["served_by"] == "qdrant"
    owed = {each["name"]: each["owed_rows"] for each in two.status()}
    assert owed["qdrant"] > 0
    problems = two.shell.look("doctor", code=1)["problems"]
    assert "Database 'postgresql' is down." in [each["what"] for each in problems]

    two.postgresql.start()
    moved = two.shell.look("stores", "reconcile")
    assert moved["done"]
    assert moved["moved"]["postgresql"] >= owed["qdrant"]
    two.qdrant.kill()
    ingest(two, "delivery-zones.json")
    assert found(two) == hits
    two.qdrant.start()
    verified = two.shell.look("stores", "verify")
    assert verified["count"] == 0, verified
    assert verified["compared"]["document"] == 4
    shown = two.shell.run("stores", "status")
    assert "s3cret" not in shown.stdout + shown.stderr


def test_what_hangs_holds_nothing_up(two: Two):
    two.qdrant.freeze()
    try:
        ingest(two, "vozvratnaya-tara.txt")
        assert two.states()["qdrant"] == "down"
    finally:
        two.qdrant.thaw()
    assert two.shell.look("stores", "reconcile")["done"]


def test_neither_answers_is_an_outage_and_no_empty_answer(two: Two):
    two.postgresql.kill()
    two.qdrant.kill()
    for command in (["search", QUESTION], ["batches", "list"], ["stores", "reconcile"]):
        ended = two.shell.look(*command, code=4)
        assert ended["error"]["kind"] == "store_unavailable"
    two.postgresql.start()
    two.qdrant.start()
    assert two.shell.look("stores", "verify")["count"] == 0


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("QDRANT_API_KEY", "another", "QDRANT_API_KEY"),
        ("POSTGRESQL_URL", "postgresql://gristmill:n0t-it@127.0.0.1:{port}/postgres", "POSTGRESQL_URL"),
        ("POSTGRESQL_URL", "postgresql://gristmill:n0t-it@127.0.0.1:{port}/absent", "POSTGRESQL_URL"),
        ("QDRANT_URL", "https://127.0.0.1:{qdrant}", "TLS"),
    ],
)
def test_a_refusal_at_the_start_is_a_wrong_setting_and_no_switch(
    two: Two, variable: str, value: str, said: str
):
    given = value.format(port=two.postgresql.port, qdrant=two.qdrant.port)
    before = two.shell.look("stores", "status")["acting"]
    shell = Shell(two.shell.home, **two.variables | {variable: given})
    message = shell.look("batches", "list", code=1)["error"]["message"]
    assert said in message
    assert "n0t-it" not in message
    assert two.shell.look("stores", "status")["acting"] == before


def test_an_installation_moves_from_file_to_server_to_server_to_file(two: Two, tmp_path: Path):
    here = Shell(tmp_path / "home")
    here.look("ingest", *(str(EXAMPLES / name) for name in MOVED), "--collection", "moved")
    prefix = {"GRISTMILL_QDRANT_PREFIX": "moved"}
    mover = Shell(tmp_path / "home", QDRANT_URL=two.qdrant.url, QDRANT_API_KEY="s3cret-key", **prefix)
    with psycopg.connect(two.postgresql.url(), autocommit=True) as connection:
        connection.execute("CREATE DATABASE moved TEMPLATE template0 ENCODING 'UTF8'")
    database = two.postgresql.url("moved")
    steps = [("sqlite", database), (database, "qdrant"), ("qdrant", str(tmp_path / "back" / "gristmill.db"))]
    (tmp_path / "back").mkdir()
    counts = []
    for source, target in steps:
        counts.append(mover.look("stores", "copy", "--from", source, "--to", target)["rows"])
    assert counts[0] == counts[1] == counts[2]
    back = Shell(tmp_path / "back")
    for command in (
        ["batches", "list"],
        ["documents", "list"],
        ["search", QUESTION, "--collection", "moved"],
    ):
        assert back.look(*command) == here.look(*command)
