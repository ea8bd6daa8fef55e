"""What every database's replication port must do. A store's test class inherits this and gives three fixtures:

``clock``, a ManualClock, and ``database`` and ``other``, two opened and empty ReplicatedDatabases over that clock:
the one under test, and any other.
"""

from tests.contract.replication_contract_batches import BatchFactsContract, RecordsContract, WorkersContract
from tests.contract.replication_contract_conflicts import ConflictsContract
from tests.contract.replication_contract_documents import DocumentFactsContract
from tests.contract.replication_contract_losses import LossesContract
from tests.contract.replication_contract_marks import ActingContract, IdentityContract, MarksContract
from tests.contract.replication_contract_rows import RowsContract


class ReplicationContract(
    ConflictsContract,
    MarksContract,
    IdentityContract,
    ActingContract,
    RecordsContract,
    BatchFactsContract,
    LossesContract,
    WorkersContract,
    DocumentFactsContract,
    RowsContract,
):
    pass
