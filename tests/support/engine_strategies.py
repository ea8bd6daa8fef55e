"""What the engine may be asked to do in a random history."""

from uuid import UUID

from hypothesis import strategies as st

from gristmill.domain.failures import Failure, FailureCategory
from gristmill.domain.record import Done, Failed, Result, Retry, Snooze

BATCHES = [UUID(int=number) for number in range(1, 4)]
KINDS = ["documents", "prices"]
CLAIMS_KEPT = 80

batch_ids = st.sampled_from([*BATCHES, *BATCHES[:2]])
maybe_batch_ids = st.one_of(st.none(), batch_ids)
workers = st.sampled_from(["w1", "w2", "w3"])
few = st.sampled_from([(), (), (), (0,), (1, 3), range(1000)])
shares = st.sampled_from([(), (0,), (0, 1, 2), (1, 3, 5), range(2, 9), range(1000)])
categories = st.sampled_from(FailureCategory)
failures = st.builds(Failure, categories, st.sampled_from(["It broke.", "It broke\nagain."]))
outcomes = st.one_of(
    st.builds(lambda reused: Done(Result(chunks=2, reused=reused)), st.booleans()),
    st.builds(Retry, failures),
    st.builds(Failed, failures),
    st.builds(Snooze, st.sampled_from([0.0, 5.0, 90.0]), st.one_of(st.none(), failures)),
)
waits = st.sampled_from([0, 1, 31, 700])
scripts = st.lists(outcomes, min_size=1, max_size=4)
