"""What ``gristmill stores ...`` prints."""

import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gristmill.cli import output
from gristmill.cli.output import counted, print_text, safe

if TYPE_CHECKING:
    from gristmill.commands.copying import Copied
    from gristmill.commands.stores import Reconciled
    from gristmill.engine.comparing import Difference
    from gristmill.insights.conflicts import Listed, Lost
    from gristmill.insights.stores import StoresStatus, StoreStatus
    from gristmill.insights.verifying import Verification
    from gristmill.ports.replication import Acting, SetAside
    from gristmill.ports.rows import Kind

_SAID_EVERY_SECONDS = 2.0
_HEADINGS = ("database", "state", "version", "latency", "owes", "set aside", "problem")


def status_json(found: "StoresStatus") -> dict[str, Any]:
    return {
        "databases": [_store_json(each) for each in found.databases],
        "acting": _acting_json(found.acting) if found.acting.term else None,
        "next": None,
    }


def _store_json(store: "StoreStatus") -> dict[str, Any]:
    owes = store.owes
    return {
        "name": store.name,
        "state": store.state,
        "preferred": store.preferred,
        "acting": store.acting,
        "problem": store.problem,
        "version": _version(store),
        "latency_seconds": store.latency_seconds,
        "clock_ahead_seconds": store.clock_ahead_seconds,
        "tunnel": store.tunnel,
        "details": store.details,
        "owed_rows": None if owes is None else owes.rows,
        "oldest_owed_at": None if owes is None else owes.oldest,
        "set_aside_rows": None if owes is None else owes.set_aside,
        "set_aside": [_aside_json(each) for each in store.set_aside],
        "conflicts": store.conflicts,
        "half_copied": None if store.half_copied is None else store.half_copied.reason,
    }


def _version(store: "StoreStatus") -> str | None:
    return store.details.get(store.name) or store.details.get("version")


def _acting_json(acting: "Acting") -> dict[str, Any]:
    missing = acting.missing
    return {
        "database": acting.database,
        "term": acting.term,
        "since": acting.since,
        "by": acting.by,
        "reason": acting.reason,
        "missing": None if missing is None else {"rows": missing.rows, "since": missing.since},
    }


def _aside_json(each: "SetAside") -> dict[str, Any]:
    return {"kind": each.kind.name.lower(), "key": each.key, "reason": each.reason}


def print_status(found: "StoresStatus") -> None:
    output.print_table(_HEADINGS, [_cells(each) for each in found.databases])
    if found.acting.term:
        _print_acting(found.acting)
    if any(each.conflicts for each in found.databases):
        print_text("Writes to documents lost to later ones of the other database: gristmill stores conflicts")
    for each in found.databases:
        _print_owed(each)
        if each.half_copied is not None:
            print_text(
                f"{each.name} holds an unfinished copy: {safe(each.half_copied.reason)}. "
                f"Go on with: gristmill stores copy --from SOURCE --to {each.name}"
            )


def _cells(store: "StoreStatus") -> Sequence[object]:
    owes = store.owes
    latency = None if store.latency_seconds is None else f"{1000 * store.latency_seconds:.1f} ms"
    return (
        f"{store.name} (preferred)" if store.preferred and owes is not None else store.name,
        store.state.replace("_", " "),
        _version(store) or "-",
        latency or "-",
        "-" if owes is None else f"{owes.rows:,}",
        "-" if owes is None else f"{owes.set_aside:,}",
        store.problem,
    )


def _print_acting(acting: "Acting") -> None:
    print_text(
        f"\n{safe(acting.database)} serves since {output.when(acting.since)} (term {acting.term}, "
        f"switched by {safe(acting.by)}): {safe(acting.reason)}"
    )
    if acting.missing is not None:
        rows = "rows" if acting.missing.rows is None else counted(acting.missing.rows, "row")
        print_text(
            f"It serves without {rows} of the other database, missing since {output.when(acting.missing.since)}."
        )


def _print_owed(store: "StoreStatus") -> None:
    if store.owes is not None and store.owes.rows:
        oldest = store.owes.oldest
        age = "" if oldest is None else f", the oldest for {_age(oldest)}"
        print_text(
            f"{counted(store.owes.rows, 'row')} acknowledged by {store.name} alone{age}. "
            "Move them now: gristmill stores reconcile"
        )
    _print_set_aside(store.set_aside)


def _age(since: datetime) -> str:
    return output.duration(max(0.0, (datetime.now(UTC) - since).total_seconds()))


def _print_set_aside(rows: "Sequence[SetAside]") -> None:
    for each in rows:
        print_text(f"Set aside: {each.kind.name.lower()} {safe(each.key)}: {safe(each.reason)}")


def reconciled_json(found: "Reconciled") -> dict[str, Any]:
    return {
        "done": found.done,
        "moved": found.moved,
        "left": found.left,
        "problems": found.problems,
        "set_aside": [_aside_json(each) for each in found.set_aside],
    }


def print_reconciled(found: "Reconciled") -> None:
    for name, rows in found.moved.items():
        print_text(f"{counted(rows, 'row')} moved to {name}.")
    if found.done:
        print_text("Neither database owes the other anything.")
        return
    for name, problem in found.problems.items():
        print_text(f"{name} is down: {safe(problem)}")
    for name, left in found.left.items():
        print_text(
            f"What {name} owes is not known."
            if left is None
            else f"{name} still owes {counted(left, 'row')}."
        )
    _print_set_aside(found.set_aside)
    if found.set_aside:
        print_text("Mend what refuses them, then: gristmill stores reconcile --all")


def verification_json(found: "Verification") -> dict[str, Any]:
    return {
        "compared": _by_kind(found.compared),
        "count": found.count,
        "differences": [_difference_json(each) for each in found.differences],
        "next": None,
    }


def print_verification(found: "Verification") -> None:
    _print_differences(found.differences, found.count)
    print_text(f"Compared: {_listed(found.compared)}.")
    if found.count:
        print_text(f"{counted(found.count, 'difference')}. Heal them with: gristmill stores reconcile --all")
    else:
        print_text("Both databases hold the same.")


def copied_json(found: "Copied") -> dict[str, Any]:
    return {
        "rows": _by_kind(found.rows),
        "count": found.count,
        "differences": [_difference_json(each) for each in found.differences],
    }


def print_copied(found: "Copied") -> None:
    _print_differences(found.differences, found.count)
    print_text(f"Copied, read back and compared: {_listed(found.rows)}.")
    if found.count:
        print_text(f"{counted(found.count, 'row')} came out otherwise. The source is as it was.")


def _print_differences(differences: "Sequence[Difference]", count: int) -> None:
    for each in differences:
        words = (each.kind.name.lower(), safe(each.key), safe(each.name))
        print_text(f"{' '.join(filter(None, words))}: {safe(each.what)}")
    if count > len(differences):
        print_text(f"... and {count - len(differences):,} more.")


def _difference_json(each: "Difference") -> dict[str, Any]:
    return {"kind": each.kind.name.lower(), "key": each.key, "name": each.name, "what": each.what}


def _by_kind(counts: "Mapping[Kind, int]") -> dict[str, int]:
    return {kind.name.lower(): counts[kind] for kind in sorted(counts)}


def _listed(counts: "Mapping[Kind, int]") -> str:
    return ", ".join(f"{count:,} {name}" for name, count in _by_kind(counts).items() if count) or "nothing"


def conflicts_json(found: "Listed") -> dict[str, Any]:
    return {
        "conflicts": [_lost_json(each) for each in found.lost],
        "kept": found.kept,
        "problems": found.problems,
    }


def _lost_json(each: "Lost") -> dict[str, Any]:
    conflict = each.conflict
    return {
        "found_at": conflict.found_at,
        "document_id": conflict.document_id,
        "collection": conflict.collection,
        "source": conflict.source,
        "database": each.database,
        "lost": conflict.lost,
        "lost_at": conflict.lost_at,
        "by": conflict.by,
        "won": conflict.won,
        "won_at": conflict.won_at,
        "won_by": conflict.won_by,
        "version": conflict.version,
        "title": conflict.title,
        "metadata": conflict.metadata,
    }


def print_conflicts(found: "Listed") -> None:
    for each in found.lost:
        conflict = each.conflict
        print_text(
            f"{safe(conflict.source)} ({safe(conflict.collection)}): the {conflict.lost} of "
            f"{output.when(conflict.lost_at)} in {safe(each.database)} lost to the {conflict.won} of {output.when(conflict.won_at)}"
        )
        if conflict.metadata is not None:
            print_text(f"  metadata  {safe(json.dumps(conflict.metadata, ensure_ascii=False))}")
    for name, problem in found.problems.items():
        print_text(f"{name} is down: {safe(problem)}")
    if not found.lost:
        print_text("Nothing that was written to a document was lost to a later write.")


class CopyProgress:
    """A line on stderr every few seconds."""

    def __init__(self) -> None:
        self._said = time.monotonic()

    def show(self, kind: "Kind", rows: int) -> None:
        now = time.monotonic()
        if now - self._said >= _SAID_EVERY_SECONDS:
            self._said = now
            output.say(f"{rows:,} rows copied, now at kind {kind.name.lower()}")
