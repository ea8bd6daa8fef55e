"""``DatabaseFallbackManager``: batches by hand, on whichever database serves, for those who know them by that name.

fm = get_fallback_manager()
await fm.create_processing_records(batch_id, ["a", "b"])
await fm.update_processing_status(batch_id, "a", "completed")
print(await fm.get_processing_progress(batch_id))
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from uuid import UUID, uuid4

import structlog

from gristmill import settings as settings_module
from gristmill import wiring
from gristmill.domain import moves
from gristmill.domain.batch import NewBatch
from gristmill.domain.failures import Failure, FailureCategory
from gristmill.domain.identity import BadItemIdError, checked_item_id
from gristmill.domain.record import Done, Failed, Item, Outcome, Record, RecordStatus, Report
from gristmill.engine.core import Core
from gristmill.ports.batches import Cleanup, Created, Progress, RecordPage, Statistics
from gristmill.ports.errors import ItemNotFoundError, RecordNotOpenError

_log = structlog.get_logger(__name__)

KIND = "manual"
_MONTH = timedelta(days=30)


class DatabaseFallbackManager:
    """The six operations on batches. Opens its databases with the first call; close it, or use it as a context manager.

    Every method raises AllStoresUnavailableError (a StoreUnavailableError) when no database serves: an outage is never
    an empty answer. What an item or a caller has wrong raises too, and never moves work to another database.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._is_open = False

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(self, *_raised: object) -> None:
        await self.close()

    async def _open(self) -> None:
        if not self._is_open:
            await self._core.open()
            self._is_open = True

    async def close(self) -> None:
        if self._is_open:
            self._is_open = False
            await self._core.close()

    # -- writing -------------------------------------------------------------------------------------

    async def create_processing_records(
        self, batch_id: UUID | str, items: Sequence[Item | Mapping[str, Any] | str], *, kind: str = KIND
    ) -> Created:
        """Store the items as pending records; the batch is created with the first ones.

        An item is an ``Item``, an item id, or a mapping with ``item_id`` and what else an ``Item`` has. Raises
        BadItemIdError (with the position) before anything is stored, BatchConflictError if the batch is sealed.
        """
        checked = [_item(each, position, kind) for position, each in enumerate(items)]
        known = _batch_id(batch_id)
        await self._open()
        batches = self._core.database.batches
        if await batches.get_batch(known) is None:
            await batches.create_batch(NewBatch(batch_id=known, kind=kind))
        return await batches.create_processing_records(known, checked)

    async def update_processing_status(
        self,
        batch_id: UUID | str,
        item_id: str,
        status: RecordStatus | str,
        error: Failure | str | None = None,
    ) -> Record:
        """End a pending record as ``completed`` or ``failed`` (with its ``error``); returns it as it is then.

        Accepted only while nobody holds its lease: RecordNotOpenError if a worker does, or if it has ended otherwise.
        The same ending again changes nothing. Raises BadItemIdError, ItemNotFoundError, BatchNotFoundError, and
        ValueError for a status that cannot be set by hand.
        """
        outcome = _outcome(status, error)
        checked_id, known = _item_id(item_id, 0), _batch_id(batch_id)
        await self._open()
        record = await self._find(known, checked_id)
        if record.status is _ending(outcome):
            return record
        if record.status is not RecordStatus.PENDING:
            raise RecordNotOpenError(known, checked_id, record.status, record.worker)
        write = moves.Write(now=self._core.clock.now(), write_id=uuid4().hex)
        taken = moves.take_by_hand(record, claim_id=write.write_id, write=write)
        refused = await self._core.database.batches.update_processing_status([Report(taken, outcome)])
        now = await self._find(known, checked_id)
        if refused and now.status is not _ending(outcome):
            raise RecordNotOpenError(known, checked_id, now.status, now.worker)
        return now

    async def _find(self, batch_id: UUID, item_id: str) -> Record:
        found = await self._core.database.batches.find_records(batch_id, [item_id])
        if item_id not in found:
            _log.warning("unknown_item", batch_id=str(batch_id), item_id=item_id, type=type(item_id).__name__)
            raise ItemNotFoundError(batch_id, item_id)
        return found[item_id]

    async def cleanup_old_records(self, older_than: timedelta = _MONTH, *, apply: bool = True) -> Cleanup:
        """Delete batches that ended longer ago than this, with their records; ``apply=False`` only counts."""
        await self._open()
        return await self._core.database.batches.cleanup_old_records(older_than, apply=apply)

    # -- looking -------------------------------------------------------------------------------------

    async def get_processing_progress(self, batch_id: UUID | str) -> Progress:
        """Raises BatchNotFoundError."""
        known = _batch_id(batch_id)
        await self._open()
        return await self._core.database.batches.get_processing_progress(known)

    async def get_processing_results(
        self,
        batch_id: UUID | str,
        *,
        status: RecordStatus | str | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> RecordPage:
        """One page of records in order of their item ids. Raises BatchNotFoundError."""
        known, wanted = _batch_id(batch_id), None if status is None else RecordStatus(status)
        await self._open()
        return await self._core.database.batches.get_processing_results(
            known, status=wanted, limit=limit, after=after
        )

    async def get_processing_statistics(self, since: datetime | None = None) -> Statistics:
        """Over batches created since then; by default over all."""
        await self._open()
        start = since or datetime(1970, 1, 1, tzinfo=UTC)
        return await self._core.database.batches.get_processing_statistics(start)


_managers: list[DatabaseFallbackManager] = []


def get_fallback_manager(**settings: Any) -> DatabaseFallbackManager:
    """The manager of this process, made of the settings when it is first asked for.

    With ``settings`` given by keyword: another one, of its own.
    """
    if settings or not _managers:
        manager = DatabaseFallbackManager(wiring.build(settings_module.load(**settings)))
        if settings:
            return manager
        _managers.append(manager)
    return _managers[0]


def _batch_id(value: object) -> UUID:
    if isinstance(value, UUID):
        return value
    if isinstance(value, str):
        try:
            return UUID(value)
        except ValueError:
            pass  # Said below, with the value.
    _log.warning("bad_batch_id", value=repr(value)[:80], type=type(value).__name__)
    raise ValueError(f"{value!r} ({type(value).__name__}) is no batch id. Give a UUID, or its text.")


def _item_id(value: object, position: int) -> str:
    try:
        return checked_item_id(value, position=position)
    except BadItemIdError as error:
        _log.warning("bad_item_id", value=repr(error.value)[:80], type=type(error.value).__name__)
        raise


def _item(given: object, position: int, kind: str) -> Item:
    match given:
        case Item():
            _item_id(given.item_id, position)
            return given
        case Mapping():
            fields = {"kind": kind, **given, "item_id": _item_id(given.get("item_id"), position)}
            return Item(**fields)
        case _:
            return Item(_item_id(given, position), kind)


def _outcome(status: RecordStatus | str, error: Failure | str | None) -> Outcome:
    if status == RecordStatus.COMPLETED and error is None:
        return Done()
    if status == RecordStatus.FAILED and error is not None:
        return Failed(error if isinstance(error, Failure) else Failure(FailureCategory.INTERNAL, str(error)))
    raise ValueError(
        f"A record cannot be set to {status!r} with the error {error!r} by hand. "
        "Give 'completed' without an error or 'failed' with one; workers do the rest."
    )


def _ending(outcome: Outcome) -> RecordStatus:
    return RecordStatus.COMPLETED if isinstance(outcome, Done) else RecordStatus.FAILED
