"""Creating a job at a provider that bills for it: what the job's row keeps, and what the provider's API does."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class TakenJob:
    """A job's row as one claim of it knows it; whoever takes the job next has a higher ``claim``.

    ``input_file``, the provider's id of what was uploaded, is there before anything was created from it.
    """

    job_id: UUID
    claim: int
    input_file: str | None = None
    remote_id: str | None = None

    @property
    def name(self) -> str:
        """What the job is found by at the provider."""
        return f"gristmill-{self.job_id}"


class JobTakenOverError(Exception):
    """Somebody else sees to this job now."""


class InputFileGoneError(Exception):
    """The provider has no such file, so it created nothing and bills nothing."""


class JobRows(Protocol):
    """Each step is a compare-and-set on the job's claim and raises JobTakenOverError when it was taken over.

    What was noted is seen by whoever takes the job next, on whichever database: both hold it when this returns, or
    the one that does serves until the other one has it.
    """

    async def note_input_file(self, job: TakenJob, input_file: str) -> TakenJob: ...

    async def note_remote_id(self, job: TakenJob, remote_id: str) -> TakenJob: ...


class BatchApi(Protocol):
    """A provider's Batch API in file mode. A call that raises anything else may have taken effect all the same."""

    async def upload(self, name: str, lines: Path) -> str:
        """The id of a new file; it costs nothing and expires by itself."""
        ...

    async def create(self, name: str, input_file: str) -> str:
        """The id of a new, paid job: another one at every call. Raises InputFileGoneError."""
        ...

    async def find(self, name: str) -> str | None:
        """The id of the job of this name; one that was created a moment ago may be missing."""
        ...

    async def delete_file(self, input_file: str) -> None:
        """A file that is not there is fine."""
        ...
