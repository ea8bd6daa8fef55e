"""What the documentation of ``DatabaseFallbackManager`` does with it."""

from uuid import uuid4

from gristmill import DatabaseFallbackManager
from gristmill.domain.batch import Counters
from gristmill.domain.record import RecordStatus


async def flow(manager: DatabaseFallbackManager, *, items_before: int = 0) -> None:
    batch_id = uuid4()
    created = await manager.create_processing_records(
        batch_id, ["a", {"item_id": "b", "source": "b.txt"}, "c"]
    )
    assert created.created == 3
    done = await manager.update_processing_status(batch_id, "a", "completed")
    assert (done.status, done.attempts) == (RecordStatus.COMPLETED, 1)
    failed = await manager.update_processing_status(str(batch_id), "b", "failed", "It would not open.")
    assert failed.error.message == "It would not open."
    assert await manager.update_processing_status(batch_id, "a", "completed") == done
    progress = await manager.get_processing_progress(batch_id)
    assert progress.counters == Counters(pending=1, completed=1, failed=1)
    page = await manager.get_processing_results(batch_id, status="failed")
    assert [record.item_id for record in page.records] == ["b"]
    assert (await manager.get_processing_statistics()).items == items_before + 3
    assert (await manager.cleanup_old_records()).batches == 0
