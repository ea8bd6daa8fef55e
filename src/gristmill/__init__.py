"""Gristmill: durable batches from piles of files to something you can search.

``from gristmill import SemanticCore, Document`` is the plain interface, ``Gristmill`` the one for asyncio.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gristmill.fallback import DatabaseFallbackManager, get_fallback_manager
    from gristmill.library import Document, Gristmill, Report, SemanticCore
    from gristmill.ports.errors import GristmillError

__all__ = [
    "DatabaseFallbackManager",
    "Document",
    "Gristmill",
    "GristmillError",
    "Report",
    "SemanticCore",
    "__version__",
    "get_fallback_manager",
]
__version__ = "0.1.0"

_HOMES = {
    "DatabaseFallbackManager": "gristmill.fallback",
    "Document": "gristmill.library",
    "Gristmill": "gristmill.library",
    "GristmillError": "gristmill.ports.errors",
    "Report": "gristmill.library",
    "SemanticCore": "gristmill.library",
    "get_fallback_manager": "gristmill.fallback",
}


def __getattr__(name: str) -> Any:
    # Loaded on first use: pool processes and the command line import this package and need none of it.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'gristmill' has no attribute {name!r}")
