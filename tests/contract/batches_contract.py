"""What every database's batch port must do. A store's test class inherits this and gives two fixtures:

``clock``, a ManualClock, and ``database``, an opened and empty Database over that clock with the default
retry policy.
"""

from collections.abc import AsyncIterator

import pytest

from gristmill.ports.database import Database
from tests.contract import batches_contract_steps as steps
from tests.contract.batches_contract_claims import ClaimsContract
from tests.contract.batches_contract_cleanup import CleanupContract
from tests.contract.batches_contract_endings import CancelContract, EndingContract
from tests.contract.batches_contract_events import EventsContract
from tests.contract.batches_contract_figures import (
    ErrorGroupsContract,
    ProgressContract,
    StatisticsContract,
)
from tests.contract.batches_contract_holds import HoldsContract
from tests.contract.batches_contract_leases import LeasesContract
from tests.contract.batches_contract_life import LifeContract
from tests.contract.batches_contract_listing import BatchListContract, ResultsContract
from tests.contract.batches_contract_outcomes import OutcomesContract
from tests.contract.batches_contract_retry import RetryContract
from tests.contract.batches_contract_submission import SubmissionContract
from tests.contract.batches_contract_views import StatusViewContract


class CountersContract:
    @pytest.fixture(autouse=True)
    async def counters_add_up_at_the_end_of_every_test(self, database: Database) -> AsyncIterator[None]:
        yield
        await steps.check_all(database)


class BatchesContract(
    CountersContract,
    SubmissionContract,
    ClaimsContract,
    LeasesContract,
    OutcomesContract,
    RetryContract,
    CancelContract,
    EndingContract,
    EventsContract,
    HoldsContract,
    StatusViewContract,
    ProgressContract,
    ErrorGroupsContract,
    StatisticsContract,
    ResultsContract,
    BatchListContract,
    CleanupContract,
    LifeContract,
):
    """All of it."""
