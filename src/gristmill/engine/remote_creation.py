"""Creating a job at a provider once, whoever dies in the middle of it (protocol J4).

Creating is not idempotent, and its answer can be lost. Then a list tells whether there is a job, but it lags, and
whoever sent the create call may be frozen just before it. So the input file of a create in doubt is deleted first:
from then on that call fails unpaid, and after the lag the list is complete.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from gristmill.ports.provider_jobs import BatchApi, InputFileGoneError, JobRows, JobTakenOverError, TakenJob

_log = structlog.get_logger(__name__)

LIST_LAG_SECONDS = 60.0


class RemoteCreation:
    """Sees a job that was taken to its remote id; never are there two paid jobs of one name.

    It rests on this: whoever takes the job sees the input file that was noted before; a create call with a deleted
    file fails unpaid; and the provider's list shows a job ``list_lag_seconds`` after its creation at the latest. A job
    that was created, but not yet listed, loses its input file: then it fails, or it has read it already.
    """

    def __init__(
        self,
        rows: JobRows,
        api: BatchApi,
        *,
        list_lag_seconds: float = LIST_LAG_SECONDS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._rows = rows
        self._api = api
        self._list_lag_seconds = list_lag_seconds
        self._sleep = sleep

    async def complete(self, job: TakenJob, lines: Path) -> TakenJob:
        """The job with its remote id, stored; ``lines`` is what to upload if nothing was created yet.

        Raises JobTakenOverError, also when the input file is gone, which is how one that froze finds out: leave the
        job alone then; if nobody sees to it, its lease ends. After any other error of the API take it again.
        """
        if job.remote_id is not None:
            return job
        remote_id = None
        if job.input_file is not None:
            remote_id = await self._created_by_another(job, job.input_file)
        if remote_id is None:
            job, remote_id = await self._create(job, lines)
        return await self._rows.note_remote_id(job, remote_id)

    async def _created_by_another(self, job: TakenJob, input_file: str) -> str | None:
        """The job that came of a create in doubt; None once it is certain that none came and none can come."""
        found = await self._api.find(job.name)
        if found is not None:
            return found
        await self._api.delete_file(input_file)
        await self._sleep(self._list_lag_seconds)
        return await self._api.find(job.name)

    async def _create(self, job: TakenJob, lines: Path) -> tuple[TakenJob, str]:
        input_file = await self._api.upload(job.name, lines)
        try:
            job = await self._rows.note_input_file(job, input_file)
        except JobTakenOverError:
            await self._delete_unused(input_file)
            raise
        try:
            return job, await self._api.create(job.name, input_file)
        except InputFileGoneError as error:
            raise JobTakenOverError from error

    async def _delete_unused(self, input_file: str) -> None:
        """Nothing can come of it, and it expires by itself: a failure is worth a line in the log."""
        try:
            await self._api.delete_file(input_file)
        except Exception as error:  # noqa: BLE001  # The provider's client may raise anything.
            _log.info("unused_input_file_left", input_file=input_file, error=str(error))
