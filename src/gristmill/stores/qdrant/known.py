"""What merges of this process stored last, so that the next merge of the same records need not read them first.

It is only expected that they are still there: a merge that meets a known record names its token and that the point
bears no mark. Whoever has written or marked it since makes that write fail, and then the point is read.
"""

from collections.abc import Iterable
from itertools import islice
from uuid import UUID

from gristmill.domain.record import Record
from gristmill.domain.versions import Version

_MOST = 10_000


class Known:
    def __init__(self) -> None:
        self._versions: dict[UUID, Version] = {}

    def before(self, records: Iterable[Record]) -> dict[UUID, Version]:
        """Of these records, what is known to be there and is older; each is named once and then forgotten."""
        found = {}
        for record in records:
            version = self._versions.pop(record.record_id, None)
            if version is not None and version < record.version:
                found[record.record_id] = version
        return found

    def keep(self, records: Iterable[Record]) -> None:
        """These were stored, and their points bear no marks."""
        for record in records:
            self._versions.pop(record.record_id, None)
            self._versions[record.record_id] = record.version
        for oldest in list(islice(self._versions, max(0, len(self._versions) - _MOST))):
            del self._versions[oldest]
