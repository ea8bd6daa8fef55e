"""What a pool process does with one document: read, extract, chunk, and name everything by its content."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, chain
from uuid import UUID

from gristmill.domain import identity
from gristmill.domain.document import Chunk, DocumentVersion, embedded_text
from gristmill.domain.failures import FailureCategory, ItemError
from gristmill.pipeline.files import read_file
from gristmill.pipeline.tokens import index_tokens
from gristmill.ports.documents import Vector
from gristmill.ports.extraction import Chunker, Extraction, Extractor, Markup, Passage

EmbedTexts = Callable[[tuple[str, ...]], Vector]

# More texts than these are embedded in slices, by all processes and under a time limit of their own.
_MOST_EMBEDDED_HERE = 256


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything besides the content that decides what a document becomes; pickles."""

    extractor: Extractor
    chunker: Chunker
    embedding_key: str
    max_file_bytes: int

    @property
    def pipeline(self) -> str:
        """The part of a version that is not content: a change of it makes documents stale."""
        extractor, chunker = self.extractor, self.chunker
        return (
            f"{extractor.name} {extractor.version}; {chunker.name} {chunker.version} ({chunker.parameters})"
        )


@dataclass(frozen=True, slots=True)
class Task:
    """One document to prepare: a file by its ``source``, or ``text`` itself."""

    document_id: UUID
    collection: str
    source: str
    text: str | None
    metadata: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A version ready to be committed; ``vectors`` has a row for each of its ``texts``, if they are embedded already."""

    version: DocumentVersion
    warnings: tuple[str, ...]
    vectors: Vector | None = None

    @property
    def vector_ids(self) -> list[UUID]:
        """Each once, in the order of ``texts``."""
        return list(dict.fromkeys([chunk.vector_id for chunk in self.version.chunks]))

    @property
    def texts(self) -> dict[UUID, str]:
        """What is to be embedded, by vector id: rebuilt from the chunks, so that it need not travel."""
        title = self.version.title
        return {
            chunk.vector_id: embedded_text(title, chunk.heading, chunk.text) for chunk in self.version.chunks
        }


def prepare(task: Task, recipe: Recipe, embed_texts: EmbedTexts | None = None) -> Prepared:
    """Raises ItemError with the category and the next step.

    ``embed_texts``, if given, embeds a document of few chunks here and now. Where it fails the vectors are left
    out, for whoever finds them missing to try again and to tell why.
    """
    prepared = _prepare(task, recipe)
    return _embedded([prepared], embed_texts)[0] if embed_texts else prepared


def prepare_together(tasks: Sequence[Task], recipe: Recipe, embed_texts: EmbedTexts) -> list[Prepared | None]:
    """``prepare`` for several, with their texts embedded at once; None for each that has to be prepared alone."""
    found: list[Prepared | None] = []
    for task in tasks:
        try:
            found.append(_prepare(task, recipe))
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001  # It will fail again alone, where it is told why.
            found.append(None)
    embedded = iter(_embedded([each for each in found if each is not None], embed_texts))
    return [None if each is None else next(embedded) for each in found]


def _embedded(group: list[Prepared], embed_texts: EmbedTexts) -> list[Prepared]:
    """With vectors, but for what has many chunks. An embedder that fails will fail again where it is looked at."""
    texts = [
        tuple(each.texts.values()) if len(each.version.chunks) <= _MOST_EMBEDDED_HERE else ()
        for each in group
    ]
    wanted = tuple(chain.from_iterable(texts))
    if not wanted:
        return group
    try:
        rows = embed_texts(wanted)
        complete = len(rows) == len(wanted)
    except Exception:  # noqa: BLE001  # See above.
        return group
    if not complete:
        return group
    ends = list(accumulate(map(len, texts)))
    return [
        replace(each, vectors=rows[end - len(own) : end]) if own else each
        for each, own, end in zip(group, texts, ends, strict=True)
    ]


def _prepare(task: Task, recipe: Recipe) -> Prepared:
    if task.text is not None:
        extraction, facts = _given_text(task.text), _text_facts(task.text)
    else:
        content, read = read_file(task.source, limit_bytes=recipe.max_file_bytes)
        name = os.path.basename(task.source)
        extraction = recipe.extractor.extract(content, name)
        facts = {
            "content_hash": read.content_hash,
            "path": task.source,
            "name": name,
            "type": _type_of(name),
            "size": read.size,
            "modified": read.modified.isoformat(),
        }
    return _version(task, recipe, extraction, facts)


def _given_text(text: str) -> Extraction:
    if not text.strip():
        raise ItemError(FailureCategory.EMPTY, "The text is empty. Give it content, then submit it again.")
    return Extraction(text=text, markup=Markup.PLAIN)


def _text_facts(text: str) -> dict[str, object]:
    content = text.encode("utf-8", "surrogatepass")
    return {"content_hash": identity.content_hash(content), "type": "text", "size": len(content)}


def _type_of(name: str) -> str:
    return os.path.splitext(name)[1].removeprefix(".").lower() or "file"


def _version(task: Task, recipe: Recipe, extraction: Extraction, facts: dict[str, object]) -> Prepared:
    content_hash = str(facts.pop("content_hash"))
    version = identity.version_of(content_hash, recipe.pipeline)
    passages = recipe.chunker.split(extraction)
    if not passages:
        raise ItemError(FailureCategory.EMPTY, f"{task.source} holds no text. Remove it, or give it content.")
    chunk_id = identity.chunk_ids(task.document_id, version)
    chunks = tuple(_chunk(recipe, chunk_id, extraction.title, passage) for passage in passages)
    metadata = _known(extraction) | facts | dict(task.metadata)
    return Prepared(
        DocumentVersion(
            document_id=task.document_id,
            collection=task.collection,
            source=task.source,
            version=version,
            content_hash=content_hash,
            pipeline=recipe.pipeline,
            title=extraction.title,
            metadata=metadata,
            chunks=chunks,
        ),
        extraction.warnings,
    )


def _known(extraction: Extraction) -> dict[str, object]:
    found = {
        "title": extraction.title,
        "author": extraction.author,
        "language": extraction.language,
        "pages": extraction.pages,
    }
    return {key: value for key, value in found.items() if value is not None}


def _chunk(recipe: Recipe, chunk_id: Callable[[int], UUID], title: str | None, passage: Passage) -> Chunk:
    text = embedded_text(title, passage.heading, passage.text)
    return Chunk(
        chunk_id=chunk_id(passage.index),
        index=passage.index,
        text=passage.text,
        start=passage.start,
        end=passage.end,
        heading=passage.heading,
        page=passage.page,
        vector_id=identity.vector_id(text, recipe.embedding_key),
        tokens=tuple(index_tokens(text)),
    )
