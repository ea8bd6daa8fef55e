"""Two databases as one: either may die, come back, come back older or hang, and nothing acknowledged is lost."""

from gristmill.stores.failover.database import FailoverDatabase
from gristmill.stores.failover.options import FailoverOptions

__all__ = ["FailoverDatabase", "FailoverOptions"]
