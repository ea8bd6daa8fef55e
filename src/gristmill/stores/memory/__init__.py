"""Everything in dicts: the executable meaning of the ports, for tests and trials; nothing outlives the process."""

from gristmill.stores.memory.database import MemoryDatabase

__all__ = ["MemoryDatabase"]
