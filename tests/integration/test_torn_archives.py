"""Zip files that were torn or altered, as disks and downloads do: bad items, whatever zipfile makes of them."""

import io
import zipfile
from random import Random
from unittest.mock import patch

import pytest

from gristmill.domain.failures import FailureCategory, ItemError
from gristmill.extractors import archives, kinds

FILES = 6_000
DEFLATED, STORED = zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED
BOOKS = [
    [
        ("mimetype", b"application/vnd.oasis.opendocument.text", STORED),
        ("META-INF/manifest.xml", b"<manifest>" + b"a b c" * 200, DEFLATED),
        ("content.xml", b"<x>hello</x>" * 300, DEFLATED),
    ],
    [
        ("mimetype", b"application/epub+zip", DEFLATED),
        ("META-INF/encryption.xml", b"<EncryptionMethod Algorithm='x'/>" * 9, DEFLATED),
    ],
    [("[Content_Types].xml", b"<t/>", DEFLATED), ("word/document.xml", b"<w>text</w>" * 100, DEFLATED)],
]


def packed(members) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as file:
        for name, content, method in members:
            file.writestr(name, content, method)
    return target.getvalue()


def torn_files(random: Random):
    whole = [packed(members) for members in BOOKS]
    for _ in range(FILES):
        content = bytearray(random.choice(whole))
        if random.random() < 0.25:
            del content[random.randrange(1, len(content)) :]
        directory = max(0, bytes(content).find(b"PK\x01\x02"))
        for _ in range(random.choice([1, 1, 2, 4, 8])):
            place = random.randrange(random.choice([0, directory]), len(content))
            content[place] = random.choice([0, 255, random.randrange(256), content[place] ^ 16])
        yield bytes(content)


def check(content: bytes) -> FailureCategory | None:
    try:
        archives.check_archive(content, "a.odt", max_expanded_bytes=1 << 30, max_ratio=100)
    except ItemError as error:
        return error.failure.category
    return None


def look_at_all() -> set[FailureCategory | None]:
    seen = set()
    for content in torn_files(Random(5)):
        kinds.media_type(content, "odt")
        seen.add(check(content))
    return seen


def test_torn_archives_are_bad_items_and_never_our_mistake():
    assert look_at_all() >= {None, FailureCategory.UNREADABLE, FailureCategory.ENCRYPTED}


@pytest.mark.parametrize("error", archives.TORN, ids=lambda error: error.__name__)
def test_each_named_error_is_met_on_torn_archives(error):
    others = tuple(each for each in archives.TORN if each is not error)
    with patch.object(archives, "TORN", others), patch.object(kinds, "TORN", others), pytest.raises(error):
        look_at_all()


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compression_that_no_document_has_is_unreadable(method):
    content = packed([("mimetype", b"application/epub+zip", method)])
    assert check(content) is FailureCategory.UNREADABLE
    assert kinds.media_type(content, "odt") == kinds.media_type(b"PK", "odt")
