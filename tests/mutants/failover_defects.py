"""Defects in failover, in the rules of merging, and in the first replication port."""

from tests.mutants.defect import Defect


def _failover(name: str, file: str, before: str, after: str) -> Defect:
    return Defect(name, "failover", file, before, after, folder="stores/failover")


def _domain(name: str, file: str, before: str, after: str) -> Defect:
    return Defect(name, "failover", file, before, after, folder="domain")


def _memory(name: str, before: str, after: str) -> Defect:
    return Defect(name, "failover", "replication.py", before, after, folder="stores/memory")


FAILOVER_DEFECTS = (
    Defect(
        "older copies are trusted",
        "failover",
        "replication.py",
        "return self.incarnation == earlier.incarnation and self.sequence >= earlier.sequence",
        "return self.incarnation == earlier.incarnation",
        folder="ports",
    ),
    _failover(
        "a write trusts a push that began before it",
        "links.py",
        "if turn.begun == begun:",
        "if turn.begun == begun and not turn.whole:",
    ),
    _failover(
        "breaker opens without a probe",
        "pair.py",
        "problem = await side.probe(writes=writes)",
        "problem = error.reason",
    ),
    _failover("probe does not write", "side.py", "            if writes:\n", "            if False:\n"),
    _failover(
        "a write after a death is not made again",
        "access.py",
        "if not replicated and side.is_down and",
        "if not replicated and False and",
    ),
    _failover(
        "every write is said to be replicated",
        "access.py",
        "acknowledge(replicated=replicated)",
        "acknowledge(replicated=True)",
    ),
    _failover(
        "a lost write is said to be replicated",
        "links.py",
        "done = whole is not None and whole.continues(since)",
        "done = whole is not None",
    ),
    _failover(
        "what confirmed a merge is not seen",
        "links.py",
        "target.hear(merged.standing)",
        "target.remembers = merged.standing.peer",
    ),
    _failover(
        "withheld rows are settled",
        "links.py",
        "if merge.fate is Fate.HELD]",
        "if merge.fate is not Fate.REFUSED]",
    ),
    _failover(
        "nothing is settled",
        "links.py",
        "replication.settle(held, peer=peer)",
        "replication.settle([], peer=peer)",
    ),
    _failover(
        "rows are sent again before they are settled",
        "links.py",
        "        if after is None:  #",
        "        if False:  #",
    ),
    _failover(
        "what was confirmed before a loss is settled after it",
        "pair.py",
        "        await side.settled()  #",
        "        #",
    ),
    _failover(
        "marks keep the preferred one from serving again",
        "links.py",
        "        if not self._all_is_well():\n            await",
        "        if False:\n            await",
    ),
    _failover(
        "handed over at once",
        "reconciler.py",
        "preferred.healthy_seconds < self._options.hand_over_after",
        "preferred.healthy_seconds < 0",
    ),
    _failover(
        "handed over while something is owed",
        "reconciler.py",
        "        if done:\n            await self._pair.nothing_missing()",
        "        if True:\n            await self._pair.nothing_missing()",
    ),
    _failover("a stale page is written", "links.py", "> self._options.forget_read_after:", "> 1e9:"),
    _failover(
        "a switch keeps the term", "pair.py", "term=self.acting.term + 1,\n", "term=self.acting.term,\n"
    ),
    _failover(
        "an older copy goes on serving",
        "pair.py",
        "if self.serving is side and other.lacks is None:",
        "if False:",
    ),
    _failover(
        "alone, an older copy keeps its name",
        "pair.py",
        "await side.call(lambda database: database.replication.reincarnate())",
        "(await side.standing()).identity",
    ),
    _failover(
        "who serves first, alone, keeps its name",
        "pair.py",
        "if self.other(first).is_down and self.serving",
        "if False and self.serving",
    ),
    _failover(
        "who saw it newer says nothing",
        "pair.py",
        "if known is None or known == standing.identity or not known.continues(standing.identity):",
        "if True:",
    ),
    _failover(
        "a hanging call is waited for",
        "side.py",
        "async with asyncio.timeout(seconds) as limit:",
        "async with asyncio.timeout(None) as limit:",
    ),
    _failover(
        "one row's mistake stops its page",
        "links.py",
        "            if len(rows) == 1:\n",
        "            if True:\n",
    ),
    _failover("the stale one is not marked", "pair.py", "            missing=to.lacks,\n", ""),
    _domain(
        "tombstones forgotten by a merge",
        "facts.py",
        "        deleted=deleted,\n",
        "        deleted=left.deleted,\n",
    ),
    _domain(
        "a seal lost by a merge",
        "facts.py",
        "for s in (left.seal, right.seal) if s",
        "for s in (left.seal,) if s",
    ),
    _domain(
        "what was declared anew is undone by a merge",
        "facts.py",
        "return self.anew, self.total,",
        "return 0, self.total,",
    ),
    _domain(
        "the older ordinal wins",
        "document_facts.py",
        "return max(pointers, key=",
        "return min(pointers, key=",
    ),
    _domain(
        "a told end is told again after a merge",
        "facts.py",
        "delivered=left.delivered or right.delivered",
        "delivered=left.delivered and right.delivered",
    ),
    _domain(
        "deletion does not reach pointers",
        "document_facts.py",
        "for each in lives if each.edited > deleted and",
        "for each in lives if",
    ),
    _domain(
        "an edit later than the deletion is lost",
        "document_facts.py",
        "for each in lives if each.edited > deleted and",
        "for each in lives if each.ordinal > deleted and",
    ),
    _domain(
        "a late edit of a version that was replaced and deleted brings it back",
        "document_facts.py",
        " and each.ordinal >= buried",
        "",
    ),
    _domain(
        "a write on top of another one is a conflict",
        "conflicts.py",
        "(winner.write_id, *winner.seen, *after.taken)",
        "(winner.write_id, *after.taken)",
    ),
    _domain(
        "what the other database lost is not logged",
        "conflicts.py",
        "found = [_conflict(incoming, after, here=False, now=now)]",
        "found = []",
    ),
    _domain("what is lost here is not logged", "conflicts.py", "    if owed:\n", "    if not owed:\n"),
    _memory(
        "chunks that went with an outlived deletion are not sent again",
        "if row.ordinal <= facts.deleted:",
        "if False:",
    ),
    _memory(
        "marks cleared whatever the row is now", " and mark.row.token == row.token else None", " else None"
    ),
    _memory(
        "merging marks the row",
        "        self._tables.put(body)\n        match body:",
        "        self._tables.keep(body)\n        match body:",
    ),
    _memory("a lower term wins", "if acting.beats(self._tables.acting):", "if True:"),
)
