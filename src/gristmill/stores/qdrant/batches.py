"""The batch port over Qdrant.

A method that changes several points is no transaction: each point changes by compare-and-set, and a method that
needs several calls makes them in an order of which every prefix is harmless and can be repeated. The modules this
class is put together from say theirs: submission, claims, leases, outcomes, endings, removal.
"""

from gristmill.stores.qdrant.claims import Claims
from gristmill.stores.qdrant.endings import Endings
from gristmill.stores.qdrant.leases import Leases
from gristmill.stores.qdrant.statistics import Figures


class QdrantBatches(Endings, Claims, Leases, Figures):
    """See ``ports.batches.Batches``."""
