"""What every database's document port must do. A store's test class inherits this and gives two fixtures:

``clock``, a ManualClock, and ``database``, an opened and empty Database over that clock.
"""

from tests.contract.documents_contract_deleting import DeletingContract
from tests.contract.documents_contract_filters import FiltersContract
from tests.contract.documents_contract_listing import (
    ChunkListContract,
    CollectionsContract,
    DocumentListContract,
    StaleContract,
)
from tests.contract.documents_contract_publishing import PublishingContract
from tests.contract.documents_contract_search import SearchContract
from tests.contract.documents_contract_vectors import VectorsContract


class DocumentsContract(
    CollectionsContract,
    PublishingContract,
    DeletingContract,
    VectorsContract,
    FiltersContract,
    DocumentListContract,
    ChunkListContract,
    StaleContract,
    SearchContract,
):
    """Statistics of the text leg may include chunks of versions that are replaced but not purged yet.

    So scores are checked only where nothing was replaced or deleted before.
    """
