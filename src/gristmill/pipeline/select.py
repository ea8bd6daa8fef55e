"""Finding the files to ingest: a streamed walk that lists what it leaves out, with the reason."""

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from hashlib import sha256
from urllib.parse import quote, unquote_to_bytes

from gristmill.domain.identity import MAX_ITEM_ID_CHARACTERS

_URI = "file://"


@dataclass(frozen=True, slots=True)
class Selected:
    source: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """Left out, with the reason as a sentence for the user."""

    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class Selection:
    """``patterns`` and ``excludes`` are globs: on the file's name, or with a slash on its path below the folder.

    Hidden files and folders are left out unless named themselves.
    """

    patterns: Sequence[str] = ()
    excludes: Sequence[str] = ()

    def wants(self, relative: str) -> bool:
        if any(_matches(relative, glob) for glob in self.excludes):
            return False
        return not self.patterns or any(_matches(relative, glob) for glob in self.patterns)

    def excludes_folder(self, relative: str) -> bool:
        return any(_matches(relative, glob.rstrip("/")) for glob in self.excludes)


def _matches(relative: str, glob: str) -> bool:
    if "/" not in glob:
        return fnmatchcase(os.path.basename(relative), glob)
    # fnmatch lets * cross slashes, so "docs/**/*.md" must match "docs/a.md" too.
    return fnmatchcase(relative, glob) or fnmatchcase(relative, glob.replace("**/", ""))


def source_of(path: str) -> str:
    """A path as a text that every database stores: itself, or a file URI when it is not UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return _URI + quote(os.fsencode(path))
    return path


def path_of(source: str) -> bytes:
    """The path that ``source_of`` came from."""
    if source.startswith(_URI):
        return unquote_to_bytes(source.removeprefix(_URI))
    return os.fsencode(source)


def item_id_of(source: str) -> str:
    """The source itself, or its hash when it is too long for an item id."""
    if len(source) <= MAX_ITEM_ID_CHARACTERS:
        return source
    return "path:" + sha256(source.encode()).hexdigest()


def select(paths: Iterable[str], selection: Selection) -> Iterator[Selected | Skipped]:
    """Walk the paths in order, folders recursively and by name; each real file comes once."""
    walk = _Walk(selection)
    for path in paths:
        yield from walk.start(os.path.abspath(path))


class _Walk:
    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self._seen: set[int] = set()  # Hashes of real paths: a million files must fit in memory.

    def start(self, path: str) -> Iterator[Selected | Skipped]:
        yield from self._entry(path, os.path.basename(path), parents=())

    def _entry(self, path: str, relative: str, parents: tuple[str, ...]) -> Iterator[Selected | Skipped]:
        try:
            mode = os.stat(path).st_mode
        except OSError as error:
            yield Skipped(source_of(path), _reason(path, error))
            return
        if stat.S_ISDIR(mode):
            yield from self._folder(path, relative if parents else "", parents)
        elif not stat.S_ISREG(mode):
            yield Skipped(source_of(path), f"It is {_kind(mode)}, not a file.")
        elif self._selection.wants(relative):
            yield self._file(path)

    def _file(self, path: str) -> Selected | Skipped:
        real = os.path.realpath(path)
        if self._is_new(real):
            return Selected(source_of(path))
        return Skipped(source_of(path), f"It is the same file as {source_of(real)}, which is ingested once.")

    def _folder(self, path: str, relative: str, parents: tuple[str, ...]) -> Iterator[Selected | Skipped]:
        real = os.path.realpath(path)
        if real in parents:
            yield Skipped(source_of(path), f"The link leads back to {source_of(real)}, which holds it.")
            return
        if not self._is_new(real):
            yield Skipped(source_of(path), f"It is the same folder as {source_of(real)}, walked once.")
            return
        try:
            names = sorted(os.listdir(path))
        except OSError as error:
            yield Skipped(source_of(path), _reason(path, error))
            return
        for name in names:
            below = f"{relative}/{name}" if relative else name
            if not name.startswith(".") and not self._selection.excludes_folder(below):
                yield from self._entry(os.path.join(path, name), below, (*parents, real))

    def _is_new(self, real: str) -> bool:
        key = hash(real)
        if key in self._seen:
            return False
        self._seen.add(key)
        return True


def _reason(path: str, error: OSError) -> str:
    if os.path.islink(path):
        target = source_of(os.readlink(path))
        return f"The link points to {target}, which cannot be followed ({error.strerror})."
    return f"It cannot be read ({error.strerror}); check its permissions."


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFBLK: "a device",
        stat.S_IFCHR: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")
