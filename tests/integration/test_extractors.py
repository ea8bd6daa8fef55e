import os
import pickle
import subprocess
import sys
from email.message import EmailMessage
from html import escape

import pytest

from gristmill.domain.failures import FailureCategory, ItemError
from gristmill.extractors import FileExtractor
from gristmill.ports.extraction import Extraction, Markup
from tests.support.files import (
    archive,
    bad_inputs,
    bomb,
    docx,
    epub,
    odt,
    pdf,
    pptx,
    russian,
    write_bad_inputs,
    write_good_files,
    xlsx,
)

_BAD = bad_inputs()


def extract(content: bytes, name: str, **limits: int) -> Extraction:
    return FileExtractor(**limits).extract(content, name)


def failure(content: bytes, name: str, **limits: int) -> ItemError:
    with pytest.raises(ItemError) as caught:
        extract(content, name, **limits)
    return caught.value


@pytest.mark.parametrize("name", _BAD)
def test_every_bad_file_fails_with_its_category_and_its_name(name):
    content, category = _BAD[name]
    error = failure(content, name)
    assert (error.category, name in error.message) == (category, True)
    assert error.message.count(". ") >= 1, "The message says what to do next."


def test_bad_files_are_written_as_listed(tmp_path):
    expected = write_bad_inputs(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == expected.keys()


def test_every_good_file_gives_its_text(tmp_path):
    for index, path in enumerate(write_good_files(tmp_path, 34)):
        extraction = extract(path.read_bytes(), path.name)
        assert str(index) in extraction.text
        assert path.stem not in f"{extraction.text} {extraction.title}"


def test_encrypted_pdf_that_opens_without_a_password_is_read():
    assert extract(pdf(["Open to all."], user_password=""), "a.pdf").text == "Open to all."


def test_scanned_pdf_says_how_many_pages_it_has():
    assert "3 pages" in failure(pdf([None] * 3), "scan.pdf").message


def test_partly_scanned_pdf_completes_and_names_the_pages_without_text():
    extraction = extract(pdf(["First page.", None, "Third page.", None]), "part.pdf")
    assert extraction.warnings[0].startswith("part.pdf: 2 of 4 pages have no text layer (2, 4)")
    assert extraction.pages == 4


def test_page_starts_point_at_the_pages():
    pages = [f"Страница {n} про цемент." if n % 2 else f"Page {n} on sand." for n in range(6)]
    extraction = extract(pdf(pages), "a.pdf")
    ends = (*extraction.page_starts[1:], len(extraction.text))
    found = [extraction.text[a:b].strip() for a, b in zip(extraction.page_starts, ends, strict=True)]
    assert found == pages


def test_pdf_cut_short_after_its_text_is_unreadable_and_not_half_indexed():
    content = pdf([f"Page {n}. " * 30 for n in range(5)])
    assert failure(content[: content.rindex(b"xref")], "torn.pdf").category is FailureCategory.UNREADABLE


def test_quotes_between_russian_letters_of_a_pdf_are_no_ligatures():
    assert (
        extract(pdf(['ООО"Ромашка", цена*вес, "офис" office']), "a.pdf").text
        == 'ООО"Ромашка", цена*вес, "офис" office'
    )


def test_pdf_metadata_gives_title_and_author():
    extraction = extract(pdf(["Text."], title="Заголовок", author="Иванов"), "a.pdf")
    assert (extraction.title, extraction.author) == ("Заголовок", "Иванов")


@pytest.mark.parametrize(
    ("content", "extension"),
    [
        (pdf(["Text about sand."]), "pdf"),
        (docx(["Text about sand."]), "docx"),
        (odt(["Text about sand."]), "odt"),
        (xlsx([["Text about sand."]]), "xlsx"),
        (b"Text about sand.", "txt"),
        (b"Text about sand.", "md"),
        (b"<html><body><p>Text about sand.</p></body></html>", "html"),
    ],
)
def test_title_is_never_the_name_of_the_file(content, extension):
    first, second = extract(content, f"first.{extension}"), extract(content, f"second.{extension}")
    assert first == second
    assert first.title is None


@pytest.mark.parametrize(
    ("content", "name", "title"),
    [
        (b"---\ntitle: 'From the top'\n---\n# Heading\n", "a.md", "From the top"),
        (b"Intro\n\n```\n# code\n```\n\n## The *first* heading ##\n", "a.md", "The first heading"),
        (b"Underlined\n==========\n", "a.md", "Underlined"),
        (b"=======\nOverlined\n=======\n\nText\n", "a.rst", "Overlined"),
        (
            b"<html><head><title>Page &amp; title</title></head><body><h1>H</h1></body></html>",
            "a.html",
            "Page & title",
        ),
        (b"<html><body><h2>Only heading</h2></body></html>", "a.html", "Only heading"),
        (docx(["# Heading", "Text"], title="Property"), "a.docx", "Property"),
        (docx(["# Heading", "Text"], title="untitled"), "a.docx", "Heading"),
        (pptx(["First slide", "Second"]), "a.pptx", "First slide"),
        (epub([("Chapter", "Text")], title="Book"), "a.epub", "Book"),
    ],
)
def test_title_comes_from_the_document(content, name, title):
    assert extract(content, name).title == title


def test_headings_and_tables_of_documents_become_markdown():
    extraction = extract(docx(["# Manual", "Text.", "## Safety", "Gloves."]), "a.docx")
    assert extraction.markup is Markup.MARKDOWN
    assert extraction.text == "# Manual\n\nText.\n\n## Safety\n\nGloves."
    assert "| Цемент | 12.5 |" in extract(xlsx([["Имя", "Цена"], ["Цемент", 12.5]]), "a.xlsx").text


@pytest.mark.parametrize(
    ("make", "extension"),
    [
        (lambda text: docx([text]), "docx"),
        (lambda text: odt([text]), "odt"),
        (lambda text: epub([("Chapter", text)], title="Book"), "epub"),
        (lambda text: f"<html><body><p>{escape(text)}</p></body></html>".encode(), "html"),
    ],
)
def test_punctuation_of_documents_is_not_escaped(make, extension):
    text = "Hello! C:\\dir\\.git (x) [y] ~z~ 1. snake_case_x #1 $5 a & b <tag> end\\! ok"
    assert text in extract(make(text), f"a.{extension}").text


def test_sheets_with_more_cells_than_the_library_allows_by_default_are_read():
    rows = [[f"Item {n}", n, "kg", n * 2] for n in range(30_000)]
    assert "| Item 29999 | 29999 | kg | 59998 |" in extract(xlsx(rows), "a.xlsx").text


def test_email_has_its_subject_as_title_and_no_plumbing():
    message = EmailMessage()
    message["Subject"], message["From"], message["Message-ID"] = (
        "Прайс",
        "Ann <ann@example.org>",
        "<1.2@example.org>",
    )
    message.set_content("Добрый день!")
    extraction = extract(message.as_bytes(), "a.eml")
    assert extraction.title == "Прайс"
    assert "Добрый день!" in extraction.text
    assert "<ann@example.org>" in extraction.text
    assert "1.2@example.org" not in extraction.text


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (pdf(["Sand."]), "sand.dat"),
        (docx(["Sand."]), "sand"),
        (docx(["Sand."]), "sand.pdf"),
        (b"{\\rtf1 Sand.}", "sand.doc"),
        (b"<html><body>Sand.</body></html>", "sand.doc"),
        (b"Sand.", "sand.doc"),
    ],
)
def test_content_decides_where_the_extension_is_wrong(content, name):
    assert extract(content, name).text == "Sand."


def test_image_is_refused_with_the_hint_that_there_is_no_ocr():
    assert "no OCR" in failure(_BAD["photo.png"][0], "photo.jpg").message


def test_text_over_the_limit_is_too_large_before_and_after_decoding():
    for content, name in (
        (b"word " * 400, "a.txt"),
        (b"word " * 30, "b.txt"),
        (docx(["word " * 30]), "c.docx"),
    ):
        assert failure(content, name, max_text_characters=100).category is FailureCategory.TOO_LARGE


def test_archive_over_the_limit_is_too_large_whatever_its_ratio():
    content = docx([os.urandom(3000).hex() for _ in range(20)])
    error = failure(content, "a.docx", max_expanded_bytes=50_000)
    assert error.category is FailureCategory.TOO_LARGE
    assert "50,000" in error.message


def test_high_ratio_of_a_trusted_file_can_be_allowed():
    assert failure(bomb(), "a.docx").category is FailureCategory.TOO_LARGE
    assert failure(bomb(), "a.docx", max_expansion_ratio=2000).category is FailureCategory.EMPTY


def test_locked_zip_member_is_encrypted():
    content = bytearray(archive({"word/document.xml": "x"}))
    content[content.index(b"PK\x01\x02") + 8] |= 1
    assert failure(bytes(content), "a.docx").category is FailureCategory.ENCRYPTED


def test_book_with_rights_management_is_encrypted_and_one_with_hidden_fonts_is_read():
    rights = '<encryption><EncryptedData><EncryptionMethod Algorithm="{}"/></EncryptedData></encryption>'
    for algorithm, locked in (
        ("http://www.w3.org/2001/04/xmlenc#aes128-cbc", True),
        ("http://www.idpf.org/2008/embedding", False),
    ):
        content = epub(
            [("Chapter", "Text")], title="Book", extra={"META-INF/encryption.xml": rights.format(algorithm)}
        )
        if locked:
            assert failure(content, "a.epub").category is FailureCategory.ENCRYPTED
        else:
            assert "Text" in extract(content, "a.epub").text


def test_version_changes_with_the_library():
    assert FileExtractor().version == f"1+xberg-{__import__('importlib.metadata').metadata.version('xberg')}"


def test_extractor_and_its_errors_pickle():
    extractor = pickle.loads(pickle.dumps(FileExtractor(max_text_characters=5)))
    error = pickle.loads(pickle.dumps(failure(b"", "a.txt")))
    assert (error.category, "a.txt" in str(error)) == (FailureCategory.EMPTY, True)
    with pytest.raises(ItemError):
        extractor.extract(b"more than five", "a.txt")


def test_library_is_loaded_by_the_first_document_and_not_by_the_import():
    code = (
        "import sys; from gristmill.extractors import FileExtractor; FileExtractor().extract(b'text', 'a.txt'); "
        "sys.exit('xberg' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_good_files_have_words_of_their_own():
    assert russian(1) != russian(2)
