"""Documents of three sides that write and merge as they like: one order for all, and the later write wins (V4, V5)."""

from dataclasses import dataclass, field
from itertools import permutations, product
from uuid import UUID

from hypothesis import example, given, settings
from hypothesis import strategies as st

from gristmill.domain.conflicts import Conflict, conflicts
from gristmill.domain.document_facts import SEEN, DocumentFacts, Pointer, join_documents
from gristmill.domain.versions import WriteIds
from tests.support import builders
from tests.support.clocks import START

SIDES = "abc"
DEEDS = ["stage", "publish", "publish", "edit", "edit", "delete", "merge", "merge"]
histories = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(DEEDS), st.integers(1, 9)), min_size=3, max_size=25
)


def shown_everywhere() -> DocumentFacts:
    staged = DocumentFacts(UUID(int=1), "papers", "file:///a").staged(
        builders.version("file:///a", ["first"]), stamp=1, write_id="first"
    )
    return staged.published(write_id="first shown", now=START)


# A newer version is shown and deleted while the older one is edited: of both only the deletion is left.
BURIED = [(0, "stage", 2), (0, "publish", 2), (0, "delete", 3), (1, "edit", 9), (2, "edit", 1)]

# Deleted on two sides at one moment, and what each took was seen there alone.
AT_ONCE = [(1, "delete", 1), (2, "edit", 3), (1, "merge", 1), (1, "delete", 1), (2, "delete", 1)]


@dataclass
class Apart:
    """What each side holds, and all that any of them ever held."""

    ids: list[WriteIds] = field(default_factory=lambda: [WriteIds(name) for name in SIDES])
    sides: list[DocumentFacts] = field(default_factory=lambda: [shown_everywhere()] * len(SIDES))
    seen: dict[str, DocumentFacts] = field(default_factory=dict)
    lost: list[Conflict] = field(default_factory=list)

    def play(self, history) -> "Apart":
        self.seen = {facts.token: facts for facts in self.sides}
        for where, deed, now in history:
            facts = self._after(where, deed, now)
            assert self.seen.setdefault(facts.token, facts) == facts, "equal versions mean equal bytes"
            self.sides[where] = facts
        return self

    def _after(self, where: int, deed: str, now: int) -> DocumentFacts:
        facts, write_id = self.sides[where], self.ids[where].draw()
        stamp = facts.next_stamp(now)  # Their clocks are apart: a later write may bear a lower stamp.
        match deed:
            case "stage":
                return facts.staged(builders.version("file:///a", [write_id]), stamp=stamp, write_id=write_id)
            case "publish" if facts.wanted and (not facts.live or facts.live.ordinal < facts.wanted.ordinal):
                return facts.published(write_id=write_id, now=START)
            case "edit" if facts.live is not None:
                return facts.edit({"by": write_id}, stamp=stamp, write_id=write_id, now=START)
            case "delete" if facts.wanted is not None or facts.live is not None:
                return facts.delete(stamp=stamp)
            case "merge":
                return self._merged(where, (where + 1) % len(SIDES))
        return facts

    def _merged(self, where: int, source: int) -> DocumentFacts:
        stored, incoming = self.sides[where], self.sides[source]
        after = join_documents(stored, incoming)
        self.lost += conflicts(stored, incoming, after, owed=True, now=START)
        return after

    def together(self) -> DocumentFacts:
        """What all of them come to hold."""
        for where, source in ((0, 1), (0, 2), (1, 0), (2, 0)):
            self.sides[where] = self._merged(where, source)
        assert self.sides[0] == self.sides[1] == self.sides[2]
        return self.sides[0]

    def ever_live(self) -> list[Pointer]:
        return [facts.live for facts in self.seen.values() if facts.live is not None]


def some(apart: Apart) -> list[DocumentFacts]:
    facts = list(apart.seen.values())
    return [*facts[:3], *facts[-4:]]


@settings(max_examples=150, deadline=None)
@given(histories)
@example(BURIED)
@example(AT_ONCE)
def test_joins_are_commutative_associative_idempotent_and_never_below_what_they_join(history):
    few = some(Apart().play(history))
    for one, two in product(few, few):
        both = join_documents(one, two)
        assert both == join_documents(two, one)
        assert join_documents(both, one) == both == join_documents(both, two)
    for one, two, three in permutations(few, 3):
        assert join_documents(join_documents(one, two), three) == join_documents(
            one, join_documents(two, three)
        )


@settings(max_examples=150, deadline=None)
@given(histories)
@example(BURIED)
@example(AT_ONCE)
def test_a_document_is_shown_if_its_newest_version_was_staged_or_edited_after_every_deletion(history):
    apart = Apart().play(history)
    found, deleted = apart.together(), max((each.deleted for each in apart.seen.values()), default=0)
    newest = max(apart.ever_live(), key=lambda pointer: pointer.order, default=None)
    assert found.deleted == deleted
    assert found.live == (newest if newest is not None and newest.edited > deleted else None)
    if found.live is not None:
        assert found.wanted is not None
        assert found.wanted.ordinal >= found.live.ordinal
        assert found.needs(found.live.version, found.live.ordinal)


@settings(max_examples=150, deadline=None)
@given(histories)
@example(BURIED)
@example(AT_ONCE)
def test_what_is_lost_without_its_winner_having_seen_it_is_logged_and_nothing_else(history):
    apart = Apart().play(history)
    found = apart.together()
    lives = apart.ever_live()
    seen = {each for pointer in lives for each in pointer.seen}
    taken = {each for facts in apart.seen.values() for each in facts.taken}
    logged = {each.key for each in apart.lost}
    for pointer in lives:
        replaced = pointer.write_id in seen | taken
        same = [
            each for each in lives if (each.version, each.metadata) == (pointer.version, pointer.metadata)
        ]
        kept = pointer == found.live
        assert kept or replaced or pointer.write_id in logged or len(same) > 1
    alone = {where for where, deed, _ in history if deed != "merge"}
    if len(alone) < 2 and len(lives) <= SEEN:
        assert logged == set()
