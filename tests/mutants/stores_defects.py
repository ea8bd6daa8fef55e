"""Defects in opening and closing two databases, in comparing them and in copying."""

from tests.mutants.defect import Defect


def _defect(name: str, path: str, before: str, after: str) -> Defect:
    folder, _, file = path.rpartition("/")
    return Defect(name, "two databases", file, before, after, folder=folder)


STORES_DEFECTS = (
    _defect(
        "a database that hangs holds up the start",
        "stores/failover/side.py",
        "{opening}, timeout=self._options.probe_timeout",
        "{opening}, timeout=self._options.open_timeout",
    ),
    _defect(
        "opening waits for the whole backlog",
        "stores/failover/database.py",
        "cycle(seconds=self._options.converge_at_open)",
        "cycle()",
    ),
    _defect(
        "closing brings nothing over",
        "stores/failover/reconciler.py",
        "if any(side.lacks for side in sides) and",
        "if False and",
    ),
    _defect(
        "cycles of one process run at once",
        "stores/failover/reconciler.py",
        "async with self._cycling:",
        "async with asyncio.Lock():",
    ),
    _defect("vectors are compared by their length", "engine/comparing.py", "value.tobytes()", "value.shape"),
    _defect(
        "rows of one side only are not seen",
        "insights/verifying.py",
        "here, strict=True) if other is None]",
        "here, strict=True) if False]",
    ),
    _defect(
        "an owed tombstone may be alone",
        "insights/verifying.py",
        "not await _is_owed(holder, row)",
        "True",
    ),
    _defect(
        "a row on its way is a difference",
        "insights/verifying.py",
        "left = [row for row in left if (row.kind, row.key) in still]",
        "break",
    ),
    _defect("a target with other rows is copied to", "commands/copying.py", "if found is None:", "if False:"),
    _defect(
        "what arrived is not compared",
        "commands/copying.py",
        "None if same_content(merge.row, there) else",
        "None if there else",
    ),
    _defect(
        "reconciling never gives up",
        "commands/stores.py",
        "idle = idle + 1 if moved == before else 0",
        "idle = 0",
    ),
    _defect(
        "the lower acting row is told",
        "insights/stores.py",
        "each.standing.acting.beats(acting)",
        "acting.beats(each.standing.acting)",
    ),
)
