"""One extractor for all files: it picks who reads a file, and makes sure that no empty text is a success."""

from dataclasses import replace
from importlib.metadata import version

from gristmill.domain.failures import FailureCategory, ItemError
from gristmill.extractors import kinds
from gristmill.extractors.archives import check_archive
from gristmill.extractors.languages import language_of
from gristmill.extractors.text import decoded, text_of, too_long
from gristmill.extractors.titles import html_head
from gristmill.extractors.xberg import document_of
from gristmill.ports.extraction import Extraction

_OWN_VERSION = "1"
_INVISIBLE = "\ufeff\u200b\u200c\u200d\u2060"
_NOTHING = b" \t\r\n\v\f\0"


class FileExtractor:
    """Reads text itself and documents through xberg. Pickles; needs a thread without a running event loop."""

    name = "files"

    def __init__(
        self,
        *,
        max_text_characters: int = 10_000_000,
        max_expanded_bytes: int = 500 << 20,
        max_expansion_ratio: int = 200,
    ) -> None:
        self.version = f"{_OWN_VERSION}+xberg-{version('xberg')}"
        self._max_text_characters = max_text_characters
        self._max_expanded_bytes = max_expanded_bytes
        self._max_expansion_ratio = max_expansion_ratio

    def extract(self, content: bytes, name: str) -> Extraction:
        if not content.strip(_NOTHING):
            raise _empty(name, "is empty" if not content else "holds nothing but white space or zero bytes")
        extraction = self._read(content, name)
        if not extraction.text.strip().strip(_INVISIBLE).strip():
            raise _empty(name, "holds no text")
        if len(extraction.text) > self._max_text_characters:
            raise too_long(name, len(extraction.text), self._max_text_characters)
        return replace(extraction, language=language_of(extraction.text, extraction.language))

    def _read(self, content: bytes, name: str) -> Extraction:
        if kinds.is_locked_compound(content):
            raise ItemError(
                FailureCategory.ENCRYPTED,
                f"{name} is locked with a password. Save it without one and submit it again.",
            )
        extension = kinds.extension_of(name)
        media_type = kinds.media_type(content, extension)
        if media_type is not None:
            return self._document(content, name, media_type)
        reason = kinds.refused(extension)
        if reason is None:
            try:
                return text_of(content, name, extension, max_characters=self._max_text_characters)
            except ItemError as error:
                reason = kinds.refused_by_content(content)
                if reason is None or error.category is not FailureCategory.UNSUPPORTED_FORMAT:
                    raise
        raise ItemError(FailureCategory.UNSUPPORTED_FORMAT, f"{name} {reason}")

    def _document(self, content: bytes, name: str, media_type: str) -> Extraction:
        if media_type in kinds.ZIPPED:
            check_archive(
                content,
                name,
                max_expanded_bytes=self._max_expanded_bytes,
                max_ratio=self._max_expansion_ratio,
            )
        if media_type not in kinds.DECODED_HERE:
            return document_of(content, name, media_type)
        source, warnings = decoded(content, name)
        extraction = document_of(source.encode(), name, media_type)
        if media_type == kinds.HTML:
            title, author = html_head(source)
            extraction = replace(extraction, title=title or extraction.title, author=author)
        return replace(extraction, warnings=(*warnings, *extraction.warnings))


def _empty(name: str, what: str) -> ItemError:
    return ItemError(
        FailureCategory.EMPTY, f"{name} {what}. Remove it, or give it content and submit it again."
    )
