"""What can go wrong behind a port. Every text says what happened, where, and what to do next."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID


class GristmillError(Exception):
    """Every error that a user may see; its text is one or two sentences for them."""


class ConfigurationError(GristmillError):
    """A setting, path or file that cannot work as it is. Never a reason to fail over."""


class SchemaOutOfDateError(ConfigurationError):
    """A database is behind this program, and bringing it up to date is left to its operator."""


class AccessDeniedError(ConfigurationError):
    """A database refuses our name or password. At run time it stops that database; trying again cannot help."""


class StoreUnavailableError(GristmillError):
    """The only error that is an outage: no connection, time-out, disk full, server shutting down.

    Trying again later can help, and what was acknowledged before is kept.
    """

    def __init__(self, database: str, reason: str, advice: str) -> None:
        super().__init__(database, reason, advice)
        self.database = database
        self.reason = reason
        self.advice = advice

    def __str__(self) -> str:
        return f"Database '{self.database}' is unavailable: {self.reason}. {self.advice}"


class AllStoresUnavailableError(StoreUnavailableError):
    """No database serves: HTTP 503. ``retry_after_seconds`` is for its Retry-After header.

    ``since``: from when on each one did not answer; without those that never answered this process. Whether anybody
    tries again is for the caller to add: a worker does, a command that has ended does not.
    """

    def __init__(
        self, reasons: Mapping[str, str], *, since: Mapping[str, datetime], retry_after_seconds: int
    ) -> None:
        said = "; ".join(
            f"'{name}' ({_since(since.get(name))}): {reason}" for name, reason in reasons.items()
        )
        advice = "Start either of them; `gristmill stores status` shows how they are."
        super().__init__(" and ".join(reasons), said, advice)
        self.reasons = reasons
        self.since = since
        self.retry_after_seconds = retry_after_seconds

    def __str__(self) -> str:
        return f"No database answers: {self.reason}. Nothing acknowledged is lost. {self.advice}"


def _since(moment: datetime | None) -> str:
    return "since before this started" if moment is None else f"since {moment:%Y-%m-%d %H:%M:%S} UTC"


class BatchNotFoundError(GristmillError):
    def __init__(self, batch_id: UUID) -> None:
        super().__init__(batch_id)
        self.batch_id = batch_id

    def __str__(self) -> str:
        return f"There is no batch {self.batch_id}. `gristmill batches list` shows the ones there are."


class BatchConflictError(GristmillError):
    """Other items were submitted under the id of a batch that is already sealed."""

    def __init__(self, batch_id: UUID, item_ids: Sequence[str]) -> None:
        super().__init__(batch_id, item_ids)
        self.batch_id = batch_id
        self.item_ids = item_ids

    def __str__(self) -> str:
        shown = ", ".join(repr(item) for item in self.item_ids[:3])
        return (
            f"Batch {self.batch_id} is sealed and has no item {shown}. "
            "Submit other items under a new batch id, or leave the id out to get one."
        )


class ItemNotFoundError(GristmillError):
    def __init__(self, batch_id: UUID, item_id: str) -> None:
        super().__init__(batch_id, item_id)
        self.batch_id = batch_id
        self.item_id = item_id

    def __str__(self) -> str:
        return (
            f"Batch {self.batch_id} has no item {self.item_id!r}. "
            f"`gristmill batches show {self.batch_id}` shows what it has."
        )


class RecordNotOpenError(GristmillError):
    """A record cannot be ended by hand: a worker holds it, or it has ended."""

    def __init__(self, batch_id: UUID, item_id: str, status: str, worker: str | None) -> None:
        super().__init__(batch_id, item_id, status, worker)
        self.batch_id = batch_id
        self.item_id = item_id
        self.status = status
        self.worker = worker

    def __str__(self) -> str:
        held = f"worker {self.worker} holds it" if self.worker else f"it is {self.status}"
        return f"Item {self.item_id!r} of batch {self.batch_id} cannot be changed by hand: {held}."


class CollectionNotFoundError(GristmillError):
    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(name, known)
        self.name = name
        self.known = known

    def __str__(self) -> str:
        if not self.known:
            return f"There is no collection '{self.name}' yet. `gristmill ingest PATH` creates one."
        return f"There is no collection '{self.name}'. Known: {', '.join(sorted(self.known))}."


class CollectionConflictError(GristmillError):
    """A collection was made with another embedding identity; its vectors cannot be compared with ours."""

    def __init__(self, name: str, stored: str, wanted: str) -> None:
        super().__init__(name, stored, wanted)
        self.name = name
        self.stored = stored
        self.wanted = wanted

    def __str__(self) -> str:
        return (
            f"Collection '{self.name}' holds vectors of {self.stored}, not of {self.wanted}. "
            "Choose another --collection, or set the embedder back to the one it was made with."
        )


class DocumentNotFoundError(GristmillError):
    def __init__(self, document_id: UUID) -> None:
        super().__init__(document_id)
        self.document_id = document_id

    def __str__(self) -> str:
        return (
            f"There is no document {self.document_id}. `gristmill documents list` shows the ones there are."
        )
