"""What the local embedders are called, known without loading them.

The number after ``w`` counts sets of weights. Raise it when a new version of a package answers with other
vectors, and only then: stored vectors of the old identity are not comparable any more.
"""

from gristmill.domain.document import EmbeddingIdentity

USEM3 = EmbeddingIdentity(provider="local", model="usem3-w1", dimensions=512)
WORDLLAMA = EmbeddingIdentity(provider="local", model="wordllama-l2-supercat-w1", dimensions=256)
