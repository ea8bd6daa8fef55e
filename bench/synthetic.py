"""An installation with any number of chunks: recombined real texts, and vectors scattered around real ones.

Embedding 100,000 chunks takes the default model a quarter of an hour; how fast a search is does not depend on
where vectors point, as long as they crowd together as real ones do.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import cranfield, own_questions
from bench.context import Context, say
from bench.recombined import Recombined
from gristmill import settings, wiring
from gristmill.domain import identity
from gristmill.domain.document import Chunk, DocumentVersion, embedded_text
from gristmill.engine.core import Core
from gristmill.pipeline.documents import DEFAULT_COLLECTION
from gristmill.pipeline.tokens import index_tokens
from gristmill.ports.documents import Published

CHUNKS = 100_000
CHUNKS_A_DOCUMENT = 5
WORDS_A_CHUNK = 110
RUSSIAN_EVERY = 5  # One document in so many is Russian.
SHELVES = 5
AUTHORS = 500
SCATTER = 0.7  # Length of the noise on a unit vector: neighbours of one sentence have a cosine of about 0.67.
DOCUMENTS_A_WRITE = 200


@dataclass(frozen=True, slots=True)
class Built:
    """``chunk_ids`` are in the order of the rows of ``vectors`` and of the texts in ``tokens``."""

    home: Path
    seconds: float
    chunk_ids: Sequence[str]
    tokens: Sequence[Sequence[str]]
    metadata: Sequence[dict[str, str]]
    vectors: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Source:
    language: str
    texts: Recombined
    centres: NDArray[np.float32]


async def build(context: Context) -> Built:
    """Write the installation in the part's folder through the document port, and keep what answers are compared with."""
    home = context.folder("synthetic")
    core = wiring.build(settings.load(home=home))
    await core.open()
    try:
        sources = _sources(context, core)
        say("writing the chunks")
        started = time.perf_counter()
        rows: list[tuple[DocumentVersion, NDArray[np.float32]]] = []
        await core.database.documents.open_collection(DEFAULT_COLLECTION, core.embedding)
        documents = _documents(core, sources, context.size(CHUNKS, quick=5_000) // CHUNKS_A_DOCUMENT)
        while group := list(islice(documents, DOCUMENTS_A_WRITE)):
            await _write(core, group)
            rows += group
        await core.database.tidy()
        return _built(home, time.perf_counter() - started, rows)
    finally:
        await core.close()


def _sources(context: Context, core: Core) -> list[_Source]:
    say("embedding the sentences that vectors are scattered around")
    passages, _ = own_questions.load()
    english = [each.text for each in cranfield.load(context.collection("cranfield")).abstracts]
    english += [each.text for each in passages if each.language == "en"]
    russian = [each.text for each in passages if each.language == "ru"]
    embedder = core.load_embedder()
    found: list[_Source] = []
    for language, texts in (("en", english), ("ru", russian)):
        recombined = Recombined(texts, seed=len(found))
        sentences = recombined.sentences[: context.size(4_000, quick=400)]
        found.append(_Source(language, recombined, embedder.embed(sentences)))
    return found


def _documents(
    core: Core, sources: Sequence[_Source], count: int
) -> Iterator[tuple[DocumentVersion, NDArray[np.float32]]]:
    noise = np.random.default_rng(2)
    for number in range(count):
        source = sources[1 if number % RUSSIAN_EVERY == 0 else 0]
        told = [source.texts.told(WORDS_A_CHUNK) for _ in range(CHUNKS_A_DOCUMENT)]
        centres = source.centres[[first % len(source.centres) for first, _ in told]]
        vectors = centres + SCATTER * _units(noise.standard_normal(centres.shape))
        yield _version(core, number, source.language, [text for _, text in told]), _units(vectors)


def _units(rows: NDArray[Any]) -> NDArray[np.float32]:
    units: NDArray[np.float32] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return units


def _version(core: Core, number: int, language: str, texts: Sequence[str]) -> DocumentVersion:
    source, title = f"/synthetic/{number:06}.txt", f"Document {number}"
    document = identity.document_id(DEFAULT_COLLECTION, source)
    content = identity.content_hash("\n".join(texts).encode())
    version = identity.version_of(content, core.pipeline)
    return DocumentVersion(
        document_id=document,
        collection=DEFAULT_COLLECTION,
        source=source,
        version=version,
        content_hash=content,
        pipeline=core.pipeline,
        title=title,
        metadata={
            "language": language,
            "shelf": str(number % SHELVES),
            "author": f"author {number % AUTHORS}",
        },
        chunks=tuple(
            Chunk(
                chunk_id=identity.chunk_id(document, version, index),
                index=index,
                text=text,
                start=index * 10_000,
                end=index * 10_000 + len(text),
                heading="",
                page=None,
                vector_id=identity.vector_id(embedded_text(title, "", text), core.embedding.key),
                tokens=tuple(index_tokens(embedded_text(title, "", text))),
            )
            for index, text in enumerate(texts)
        ),
    )


async def _write(core: Core, group: Sequence[tuple[DocumentVersion, NDArray[np.float32]]]) -> None:
    documents = core.database.documents
    staged = await documents.stage_versions([version for version, _ in group])
    vectors = {
        chunk.vector_id: row
        for version, rows in group
        for chunk, row in zip(version.chunks, rows, strict=True)
    }
    await documents.put_vectors(core.embedding, vectors)
    wanted = {version.document_id: each for (version, _), each in zip(group, staged, strict=True)}
    published = await documents.publish(wanted)
    assert set(published.values()) == {Published.LIVE}


def _built(home: Path, seconds: float, rows: Sequence[tuple[DocumentVersion, NDArray[np.float32]]]) -> Built:
    chunks = [(chunk, version.metadata) for version, _ in rows for chunk in version.chunks]
    return Built(
        home=home,
        seconds=seconds,
        chunk_ids=[str(chunk.chunk_id) for chunk, _ in chunks],
        tokens=[chunk.tokens for chunk, _ in chunks],
        metadata=[{key: str(value) for key, value in metadata.items()} for _, metadata in chunks],
        vectors=np.concatenate([vectors for _, vectors in rows]),
    )
