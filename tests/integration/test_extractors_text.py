import pytest

from gristmill.extractors import FileExtractor
from gristmill.ports.extraction import Extraction, Markup

_RUSSIAN = "Портландцемент хранят в сухом месте. Мешки кладут на поддон, не выше десяти рядов!"
_GERMAN = "Die Größe der Säcke muß für Österreich geprüft werden; natürlich auch übermäßig schöne."
_FRENCH = "« Où est la bétonnière ? » À côté de l'entrepôt, bien sûr: c'était prévu, créée en été."


def extract(content: bytes, name: str) -> Extraction:
    return FileExtractor().extract(content, name)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (_RUSSIAN, "cp1251"),
        (_RUSSIAN.upper(), "cp1251"),
        ("Цена 5 р", "cp1251"),
        ("Внимание: мокрый пол", "cp1251"),
        ("Журнал учёта ГСМ", "koi8-r"),
        (_RUSSIAN, "koi8-r"),
        (_RUSSIAN, "cp866"),
        (_GERMAN, "cp1252"),
        (_FRENCH, "cp1252"),
        (_FRENCH, "latin-1"),
    ],
)
def test_single_byte_encodings_are_recognised_and_said(text, encoding):
    extraction = extract(text.encode(encoding), "a.txt")
    assert extraction.text == text
    assert "a.txt is not UTF-8 and was read as" in extraction.warnings[0]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_unicode_with_a_mark_needs_no_warning(encoding):
    assert extract(_RUSSIAN.encode(encoding), "a.txt") == Extraction(
        _RUSSIAN, language="ru", media_type="text/plain"
    )


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", [_RUSSIAN, "Plain English text."])
def test_utf_16_without_a_mark_is_recognised_and_said(text, encoding):
    extraction = extract(text.encode(encoding), "a.txt")
    assert extraction.text == text
    assert encoding.upper() in extraction.warnings[0]


def test_encoding_that_a_page_declares_is_believed():
    source = '<html><head><meta charset="windows-1251"><title>Ø</title></head><body><p>Мы</p></body></html>'
    assert extract(source.replace("Ø", "Я").encode("cp1251"), "a.html").text == "Мы"


def test_broken_utf_8_is_read_with_a_warning():
    extraction = extract(_RUSSIAN.encode()[:-1].replace("ц".encode(), b"\xd1", 1), "a.txt")
    assert extraction.text.startswith("Портланд\ufffdемент хранят")
    assert "is not valid UTF-8 everywhere" in extraction.warnings[0]


def test_nul_bytes_in_text_are_removed_with_a_warning():
    extraction = extract(b"A text with a stray\0 zero byte in it, and no more of them.", "a.txt")
    assert "\0" not in extraction.text
    assert "1 NUL" in extraction.warnings[0]


def test_line_ends_of_windows_become_those_of_unix():
    assert extract(b"one\r\ntwo\rthree\n", "a.txt").text == "one\ntwo\nthree\n"


@pytest.mark.parametrize(
    ("name", "markup"),
    [
        ("a.md", Markup.MARKDOWN),
        ("a.py", Markup.CODE),
        ("a.csv", Markup.PLAIN),
        ("README", Markup.PLAIN),
        ("a.xyz", Markup.PLAIN),
    ],
)
def test_text_is_kept_as_it_is_written(name, markup):
    text = 'a,b\n"1, 2",<x y="z"/>\n'
    extraction = extract(text.encode(), name)
    assert (extraction.text, extraction.markup) == (text, markup)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        (_RUSSIAN, "ru"),
        ("The mixer is for the yard and the depot.", "en"),
        (_GERMAN, None),
        ("Щебінь і пісок зберігають на складі її", "uk"),
        ("42", None),
    ],
)
def test_language_is_known_by_its_letters_and_words(text, language):
    assert extract(text.encode(), "a.txt").language == language
