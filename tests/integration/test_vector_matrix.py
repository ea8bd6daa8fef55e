"""The matrix behind exact vector search is right whatever happened to its files."""

import fcntl
import shutil
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest

from gristmill.domain.document import DocumentVersion, EmbeddingIdentity
from gristmill.ports.documents import ChunkQuery, Vector
from gristmill.stores.sql import vector_files, vector_matrix
from gristmill.stores.sql.database import SqlDatabase
from tests.support.builders import EMBEDDING, random_unit, vectors_of, version
from tests.support.clocks import ManualClock
from tests.support.databases import new_sqlite

QUERY = random_unit(7)

Open = Callable[[], Awaitable[SqlDatabase]]


@pytest.fixture
async def opened(tmp_path: Path):
    """Opens the one database of the test, each time as another process would."""
    first = await new_sqlite(tmp_path, ManualClock())
    await first.documents.open_collection("papers", EMBEDDING)
    await first.close()
    async with AsyncExitStack() as stack:

        async def open_again() -> SqlDatabase:
            database = SqlDatabase(first._path, clock=ManualClock())
            await database.open()
            stack.push_async_callback(database.close)
            return database

        yield open_again


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "gristmill.db.vectors"


def texts(start: int, count: int) -> list[str]:
    return [f"text number {number}" for number in range(start, start + count)]


async def ingest(
    database: SqlDatabase, versions: Sequence[DocumentVersion], given: dict[UUID, Vector]
) -> None:
    wanted = await database.documents.stage_versions(versions)
    await database.documents.put_vectors(EMBEDDING, given)
    published = zip(versions, wanted, strict=True)
    await database.documents.publish({each.document_id: ours for each, ours in published})


async def add(database: SqlDatabase, start: int, count: int) -> dict[UUID, Vector]:
    """Publish a document with so many chunks; returns their vectors."""
    new = version(f"file-{start}", texts(start, count))
    given = vectors_of(new)
    await ingest(database, [new], given)
    return {chunk.chunk_id: given[chunk.vector_id] for chunk in new.chunks}


def expected(known: dict[UUID, Vector], limit: int = 10) -> list[tuple[UUID, float]]:
    scores = {
        chunk_id: float(vector.astype(float) @ QUERY.astype(float)) for chunk_id, vector in known.items()
    }
    best = sorted(scores.items(), key=lambda each: (-each[1], str(each[0])))[:limit]
    return [(chunk_id, round(score, 5)) for chunk_id, score in best]


async def found(database: SqlDatabase, limit: int = 10) -> list[tuple[UUID, float]]:
    legs = await database.documents.search(ChunkQuery("papers", limit=limit, vector=QUERY))
    return [(hit.chunk_id, round(hit.score, 5)) for hit in legs.vector]


def vectors_file(folder: Path) -> Path:
    (path,) = folder.glob("*.f32")
    return path


def numbers_file(folder: Path) -> Path:
    (path,) = folder.glob("*.i64")
    return path


async def test_search_ranks_like_brute_force(opened: Open):
    database = await opened()
    known = await add(database, 0, 300)
    assert await found(database, 25) == expected(known, 25)


async def test_vectors_of_another_process_are_found_at_once(opened: Open):
    one, other = await opened(), await opened()
    known = await add(one, 0, 20)
    assert await found(one) == await found(other) == expected(known)
    known |= await add(other, 100, 20)
    assert await found(one) == await found(other) == expected(known)


async def test_processes_share_one_pair_of_files(opened: Open, folder: Path):
    one, other = await opened(), await opened()
    await add(one, 0, 20)
    await found(one)
    await add(one, 100, 30)
    await found(other)
    assert vectors_file(folder).stat().st_size == 50 * EMBEDDING.dimensions * 4
    assert numbers_file(folder).stat().st_size == 50 * 8


async def test_tidy_brings_the_files_up_to_date_before_anybody_searches(opened: Open, folder: Path):
    database = await opened()
    await add(database, 0, 20)
    await database.tidy()
    assert numbers_file(folder).stat().st_size == 20 * 8


async def test_many_slices_make_one_matrix(opened: Open, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(vector_matrix, "_ROWS_AFTER", vector_matrix._ROWS_AFTER.limit(None).limit(7))
    database = await opened()
    known = await add(database, 0, 50)
    assert await found(database) == expected(known)


async def test_tail_that_a_crash_left_is_cut_off(opened: Open, folder: Path):
    database = await opened()
    known = await add(database, 0, 20)
    await found(database)
    with vectors_file(folder).open("ab") as file:
        file.write(b"\x01" * 1001)
    with numbers_file(folder).open("ab") as file:
        file.write(b"\x01" * 5)
    known |= await add(database, 100, 20)
    assert await found(database) == expected(known)
    assert await found(await opened()) == expected(known)
    assert vectors_file(folder).stat().st_size == 40 * EMBEDDING.dimensions * 4


@pytest.mark.parametrize("damage", ["garbage", "short", "missing", "unsorted", "no header", "bad header"])
async def test_damaged_files_are_made_again(opened: Open, folder: Path, damage: str):
    database = await opened()
    known = await add(database, 0, 20)
    await found(database)
    await database.close()
    vectors, numbers, header = vectors_file(folder), numbers_file(folder), folder / "vectors-1.json"
    match damage:
        case "garbage":
            vectors.write_bytes(b"\x3c" * vectors.stat().st_size)
        case "short":
            vectors.write_bytes(vectors.read_bytes()[:100])
        case "missing":
            vectors.unlink()
        case "unsorted":
            numbers.write_bytes(np.arange(20, 0, -1).astype(np.int64).tobytes())
        case "no header":
            header.unlink()
        case "bad header":
            header.write_text("[]")
    again = await opened()
    assert await found(again) == expected(known)
    known |= await add(again, 100, 20)
    assert await found(again) == expected(known)


async def test_files_of_another_database_are_not_used(opened: Open, folder: Path, tmp_path: Path):
    (tmp_path / "other").mkdir()
    other = await new_sqlite(tmp_path / "other", ManualClock())
    await other.documents.open_collection("papers", EMBEDDING)
    await add(other, 500, 40)
    await found(other)
    await other.close()
    shutil.copytree(other._path.with_name("gristmill.db.vectors"), folder)
    database = await opened()
    known = await add(database, 0, 20)
    assert await found(database) == expected(known)


@pytest.mark.parametrize("more", [10, 20, 40])
async def test_restored_backup_is_noticed(opened: Open, tmp_path: Path, more: int):
    path, backup = tmp_path / "gristmill.db", tmp_path / "backup.db"
    database = await opened()
    known = await add(database, 0, 20)
    await database.close()
    shutil.copy(path, backup)
    database = await opened()
    await add(database, 100, 20)
    await found(database)
    await database.close()
    shutil.copy(backup, path)
    # The numbers of the vectors that were lost are given again, to others.
    database = await opened()
    known |= await add(database, 200, more)
    assert await found(database) == expected(known)


async def test_search_goes_on_in_memory_where_no_file_can_be_written(opened: Open, folder: Path):
    folder.write_text("in the way")
    database = await opened()
    known = await add(database, 0, 20)
    assert await found(database) == expected(known)
    for start in range(100, 2000, 100):
        known |= await add(database, start, 5)
        assert await found(database) == expected(known)
    folder.unlink()
    known |= await add(database, 5000, 5)
    assert await found(database) == expected(known)
    assert numbers_file(folder).stat().st_size == len(known) * 8


async def test_writer_that_froze_with_the_lock_does_not_stop_search(
    opened: Open, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(vector_files, "LOCK_WAIT_SECONDS", 0.0)
    database = await opened()
    known = await add(database, 0, 20)
    await found(database)
    with (folder / "vectors-1.lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        known |= await add(database, 100, 20)
        assert await found(database) == expected(known)
        assert await found(await opened()) == expected(known)
    assert numbers_file(folder).stat().st_size == 20 * 8
    known |= await add(database, 200, 20)
    assert await found(database) == expected(known)
    assert numbers_file(folder).stat().st_size == 60 * 8


async def test_process_that_mapped_the_files_survives_their_being_made_again(opened: Open, folder: Path):
    one = await opened()
    known = await add(one, 0, 20)
    await found(one)
    (folder / "vectors-1.json").unlink()
    other = await opened()
    assert await found(other) == expected(known)
    assert await found(one) == expected(known)
    known |= await add(other, 100, 20)
    assert await found(one) == await found(other) == expected(known)


async def test_bad_vector_spoils_no_other(opened: Open):
    database = await opened()
    known = await add(database, 0, 20)
    bad = version("bad", ["nothing"])
    await ingest(database, [bad], {bad.chunks[0].vector_id: np.full(8, np.nan, np.float32)})
    assert await found(database, 1) == expected(known, 1)
    assert (await found(database, 30))[:20] == expected(known, 30)


async def test_equal_vectors_score_equal_wherever_they_stand(opened: Open):
    database = await opened()
    versions = [version(f"file-{number}", [f"text {number}"]) for number in range(40)]
    same = random_unit(3)
    await ingest(database, versions, {each.chunks[0].vector_id: same for each in versions})
    in_order = sorted((each.chunks[0].chunk_id for each in versions), key=str)
    assert [chunk_id for chunk_id, _ in await found(database)] == in_order[:10]


async def test_scores_are_cosines_also_of_vectors_that_are_not_of_unit_length(opened: Open):
    database = await opened()
    raw = EmbeddingIdentity(provider="test", model="raw", dimensions=8, normalised=False)
    await database.documents.open_collection("raw", raw)
    new = version("file", ["some text"], collection="raw", embedding=raw)
    wanted = await database.documents.stage_versions([new])
    vector = 5 * random_unit(1)
    await database.documents.put_vectors(raw, {new.chunks[0].vector_id: vector})
    await database.documents.publish({new.document_id: wanted[0]})
    legs = await database.documents.search(ChunkQuery("raw", limit=1, vector=QUERY))
    assert legs.vector[0].score == pytest.approx(float(random_unit(1) @ QUERY), abs=1e-6)


async def test_query_of_other_dimensions_is_refused(opened: Open):
    database = await opened()
    await add(database, 0, 3)
    with pytest.raises(ValueError, match="Embed the query with that model"):
        await database.documents.search(ChunkQuery("papers", limit=1, vector=random_unit(1, 9)))


async def test_collections_of_one_identity_are_searched_apart(opened: Open):
    database = await opened()
    await database.documents.open_collection("notes", EMBEDDING)
    notes = [version(f"note-{number}", [f"note {number}"], collection="notes") for number in range(6)]
    # All notes are worse than every paper, so that none is among the best candidates.
    await ingest(database, notes, {each.chunks[0].vector_id: -QUERY for each in notes})
    papers = [version(f"paper-{number}", [f"paper {number}"]) for number in range(80)]
    await ingest(database, papers, {each.chunks[0].vector_id: QUERY for each in papers})
    query = ChunkQuery("notes", limit=3, vector=QUERY)
    first = (await database.documents.search(query)).vector
    assert [hit.chunk_id for hit in first] == sorted((each.chunks[0].chunk_id for each in notes), key=str)[:3]
    await database.documents.delete_documents([hit.document_id for hit in first])
    second = (await database.documents.search(query)).vector
    assert len(second) == 3
    assert not {hit.chunk_id for hit in first} & {hit.chunk_id for hit in second}


def files(folder: Path, incarnation: int = 1) -> vector_files.VectorFiles:
    return vector_files.VectorFiles(folder, "test", incarnation=UUID(int=incarnation), dimensions=2)


def rows(*numbers: int) -> vector_files.Rows:
    vectors = [[number, -number] for number in numbers]
    return vector_files.Rows(np.array(numbers, np.int64), np.array(vectors, np.float32))


def test_rows_that_two_processes_add_at_once_are_there_once(tmp_path: Path):
    one, other = files(tmp_path), files(tmp_path)
    empty = one.start_over(one.load())
    seen_by_other = other.load()
    one.extend(empty, rows(1, 2, 5))
    now = other.extend(seen_by_other, rows(1, 2, 5, 9)).rows
    assert now.numbers.tolist() == [1, 2, 5, 9]
    assert now.vectors.tolist() == rows(1, 2, 5, 9).vectors.tolist()


def test_files_are_begun_once_by_two_processes_that_found_them_bad(tmp_path: Path):
    one, other = files(tmp_path), files(tmp_path)
    bad = one.load()
    begun = one.start_over(bad)
    one.extend(begun, rows(1, 2))
    assert other.start_over(bad).rows.numbers.tolist() == [1, 2]


def test_rows_are_not_added_to_files_that_were_begun_anew(tmp_path: Path):
    one, other = files(tmp_path), files(tmp_path)
    old = one.extend(one.start_over(one.load()), rows(1, 2))
    other.start_over(old)
    assert one.extend(old, rows(3)).rows.numbers.tolist() == []


def test_files_of_another_incarnation_are_empty(tmp_path: Path):
    mine = files(tmp_path)
    mine.extend(mine.start_over(mine.load()), rows(1, 2))
    assert files(tmp_path, incarnation=2).load().rows.numbers.tolist() == []
