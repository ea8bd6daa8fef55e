"""Checks what a model answered before anyone stores it."""

import numpy as np
from numpy.typing import ArrayLike

from gristmill.domain.document import EmbeddingIdentity
from gristmill.domain.failures import FailureCategory, ItemError
from gristmill.ports.documents import Vector


def unit_rows(answer: ArrayLike, *, count: int, identity: EmbeddingIdentity) -> Vector:
    """Check that there are ``count`` usable vectors of the identity's dimensions, and bring each to unit length.

    Raises ItemError (provider_contract) that says what is wrong, and with which texts.
    """
    vectors = np.asarray(answer, dtype=np.float32)
    expected = (count, identity.dimensions)
    if vectors.shape != expected:
        raise _broken(identity, f"answered with shape {vectors.shape} where {expected} was due")
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    unusable = np.flatnonzero(~np.isfinite(lengths) | (lengths < np.finfo(np.float32).tiny))
    if unusable.size:
        raise _broken(
            identity, f"gave no direction, or a number that is not finite, for text {_list(unusable)}"
        )
    units: Vector = (vectors / lengths[:, np.newaxis]).astype(np.float32)
    return units


def _broken(identity: EmbeddingIdentity, what: str) -> ItemError:
    return ItemError(FailureCategory.PROVIDER_CONTRACT, f"Embedder '{identity.model}' {what}.")


def _list(positions: np.ndarray) -> str:
    shown = ", ".join(str(position + 1) for position in positions[:5])
    return f"{shown} and {positions.size - 5} more" if positions.size > 5 else shown
