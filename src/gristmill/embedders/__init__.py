"""Models that run on this machine, offline, from weights inside their packages."""

from gristmill.embedders.registry import embed_texts, identity_of, is_static, known_embedders, load

__all__ = ["embed_texts", "identity_of", "is_static", "known_embedders", "load"]
