"""What a walk finds and what it leaves out."""

import os
import socket
from pathlib import Path

import pytest

from gristmill.domain.identity import MAX_ITEM_ID_CHARACTERS, checked_item_id
from gristmill.pipeline.select import Selected, Selection, Skipped, item_id_of, path_of, select, source_of


def found(*paths: Path | str, patterns: tuple[str, ...] = (), excludes: tuple[str, ...] = ()) -> list[str]:
    chosen = select([str(path) for path in paths], Selection(patterns, excludes))
    return [each.source for each in chosen if isinstance(each, Selected)]


def skipped(*paths: Path | str) -> dict[str, str]:
    chosen = select([str(path) for path in paths], Selection())
    return {each.source: each.reason for each in chosen if isinstance(each, Skipped)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.md", "a.txt", "docs/c.md", "docs/deep/d.md", ".hidden.md", ".git/e.md", "tmp/f.md"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name, encoding="utf-8")
    return tmp_path


def names(folder: Path, sources: list[str]) -> list[str]:
    return [os.path.relpath(source, folder) for source in sources]


def test_folders_are_walked_by_name_and_hidden_files_are_left_out(folder):
    expected = ["a.txt", "b.md", "docs/c.md", "docs/deep/d.md", "tmp/f.md"]
    assert names(folder, found(folder)) == expected


def test_a_hidden_file_named_itself_is_ingested(folder):
    assert names(folder, found(folder / ".hidden.md")) == [".hidden.md"]


def test_a_glob_without_a_slash_speaks_of_names_and_with_one_of_paths(folder):
    assert names(folder, found(folder, patterns=("*.txt",))) == ["a.txt"]
    assert names(folder, found(folder, patterns=("docs/**/*.md",))) == ["docs/c.md", "docs/deep/d.md"]


def test_excludes_win_over_patterns_and_cut_off_whole_folders(folder):
    chosen = found(folder, patterns=("*.md",), excludes=("docs/deep", "tmp/", "b.*"))
    assert names(folder, chosen) == ["docs/c.md"]


def test_the_same_file_by_two_paths_comes_once(folder):
    assert names(folder, found(folder, folder / "a.txt", folder / "docs")).count("a.txt") == 1
    assert "same file" in skipped(folder, folder / "a.txt")[str(folder / "a.txt")]
    assert "same folder" in skipped(folder, folder / "docs")[str(folder / "docs")]


def test_pipes_sockets_dangling_links_and_loops_are_skipped_with_the_reason(folder):
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "socket"))
    (folder / "dangling").symlink_to(folder / "nowhere")
    (folder / "docs" / "loop").symlink_to(folder)
    (folder / "self").symlink_to(folder / "self")
    reasons = skipped(folder)
    assert "named pipe" in reasons[str(folder / "pipe")]
    assert "socket" in reasons[str(folder / "socket")]
    assert "nowhere" in reasons[str(folder / "dangling")]
    assert "leads back" in reasons[str(folder / "docs" / "loop")]
    assert "cannot be followed" in reasons[str(folder / "self")]
    assert len(found(folder)) == 5


def test_a_link_to_a_folder_outside_is_followed(folder, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "x.md").write_text("x")
    (folder / "link").symlink_to(outside)
    assert str(folder / "link" / "x.md") in found(folder)


@pytest.mark.parametrize("name", ["with space.md", "new\nline.md", "Смета №3.md", "🧱 brick.md", "-dash.md"])
def test_odd_names_come_back_as_the_same_file(tmp_path, name):
    (tmp_path / name).write_text("x")
    (source,) = found(tmp_path)
    assert path_of(source) == os.fsencode(tmp_path / name)


def test_a_name_that_is_not_utf8_is_stored_as_a_uri_and_found_again(tmp_path):
    path = os.fsencode(tmp_path) + b"/caf\xe9.txt"
    with open(path, "wb") as file:
        file.write(b"x")
    (source,) = found(tmp_path)
    assert source.startswith("file://")
    assert source.isascii()
    assert path_of(source) == path
    assert checked_item_id(item_id_of(source), position=0)


def test_a_path_too_long_for_an_item_id_gets_a_hash():
    source = "/" + "x" * MAX_ITEM_ID_CHARACTERS
    assert len(item_id_of(source)) < 100
    assert item_id_of(source) != item_id_of(source + "y")
    assert source_of(source) == source
