"""Files for tests: good ones of many formats in English and Russian, and one of each kind of bad one."""

import json
import random
import struct
from collections.abc import Callable, Mapping
from email.message import EmailMessage
from pathlib import Path

from gristmill.domain.failures import FailureCategory
from tests.support.office_files import archive, docx, epub, locked_office_file, odt, pptx, xlsx
from tests.support.pdf_files import pdf

BOMB_BYTES = 60_000_000
_ENGLISH = (
    "concrete mixer depot shelf timber lantern harvest copper ledger window gravel orchard kettle saddle"
)
_RUSSIAN = "цемент склад доска фонарь урожай медь журнал окно щебень сад чайник седло мешок поддон"
_PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010800000000 3a7e9b55"
    "0000000a49444154789c6360000000020001 48afa471 0000000049454e44ae426082".replace(" ", "")
)


def write_bad_inputs(folder: Path) -> dict[str, FailureCategory]:
    """Write one file of every kind that must fail, and return the category expected for each name."""
    expected = {}
    for name, (content, category) in bad_inputs().items():
        (folder / name).write_bytes(content)
        expected[name] = category
    return expected


def bad_inputs() -> Mapping[str, tuple[bytes, FailureCategory]]:
    noise = random.Random(7).randbytes(6000)
    chinese = "这是一个用来测试的文件，里面没有别的东西。" * 9
    whole_pdf = pdf(["A page that will lose its end. " * 20] * 4)
    whole_docx = docx(["A paragraph that will lose its end. " * 20])
    return {
        "empty.txt": (b"", FailureCategory.EMPTY),
        "blank.md": (b" \n\t\n", FailureCategory.EMPTY),
        "zeros.log": (bytes(500), FailureCategory.EMPTY),
        "empty.pdf": (b"", FailureCategory.EMPTY),
        "wordless.docx": (docx([]), FailureCategory.EMPTY),
        "locked.pdf": (pdf(["A secret."], user_password="pw"), FailureCategory.ENCRYPTED),
        "locked.docx": (locked_office_file(), FailureCategory.ENCRYPTED),
        "locked.xlsx": (locked_office_file(), FailureCategory.ENCRYPTED),
        "locked.odt": (odt(["A secret."], locked=True), FailureCategory.ENCRYPTED),
        "noise.pdf": (noise, FailureCategory.UNREADABLE),
        "torn.pdf": (whole_pdf[: len(whole_pdf) // 2], FailureCategory.UNREADABLE),
        "torn.docx": (whole_docx[:-200], FailureCategory.UNREADABLE),
        "noise.xlsx": (b"PK\x03\x04" + noise, FailureCategory.UNREADABLE),
        "chinese.txt": (chinese.encode("gbk"), FailureCategory.UNREADABLE),
        "noise.bin": (noise, FailureCategory.UNSUPPORTED_FORMAT),
        "noise": (noise, FailureCategory.UNSUPPORTED_FORMAT),
        "photo.png": (_PNG, FailureCategory.UNSUPPORTED_FORMAT),
        "files.zip": (archive({"a.txt": "text"}), FailureCategory.UNSUPPORTED_FORMAT),
        "scan.pdf": (pdf([None, None, None]), FailureCategory.NO_TEXT_LAYER),
        "bomb.docx": (bomb(), FailureCategory.TOO_LARGE),
        "lying-bomb.xlsx": (bomb("xl/workbook.xml", claimed_bytes=100), FailureCategory.TOO_LARGE),
    }


def bomb(member: str = "word/document.xml", *, claimed_bytes: int | None = None) -> bytes:
    """Write a small zip that unpacks to 60 MB, and may claim less in its directory."""
    content = archive({"[Content_Types].xml": "<Types/>", member: b"a" * BOMB_BYTES})
    if claimed_bytes is None:
        return content
    return content.replace(struct.pack("<I", BOMB_BYTES), struct.pack("<I", claimed_bytes))


def write_good_files(folder: Path, count: int) -> list[Path]:
    """Write ``count`` small files, each with words of its own, formats and languages in turn."""
    paths = []
    for index in range(count):
        extension, make = _MAKERS[index % len(_MAKERS)]
        path = folder / f"good-{index:05}.{extension}"
        path.write_bytes(make(index))
        paths.append(path)
    return paths


def english(index: int) -> str:
    return _prose(_ENGLISH, "Note {} is about the {} and the {}. It is kept with the {} for the {}.", index)


def russian(index: int) -> str:
    return _prose(_RUSSIAN, "Запись {} про {} и про {}. Рядом лежат {} и ещё {}.", index)


def _prose(words: str, sentence: str, index: int) -> str:
    return sentence.format(index, *random.Random(index).sample(words.split(), 4))


def _markdown(index: int) -> bytes:
    return f"# Note {index}\n\n{english(index)}\n\n## Details\n\n- {english(index + 1)}\n".encode()


def _email(index: int) -> bytes:
    message = EmailMessage()
    message["Subject"] = f"Письмо {index}"
    message["From"] = "ann@example.org"
    message["To"] = "boris@example.org"
    message.set_content(russian(index))
    return message.as_bytes()


def _html(index: int) -> bytes:
    return f"<html><head><title>Page {index}</title></head><body><h1>Page {index}</h1><p>{english(index)}</p></body></html>".encode()


def _rtf(index: int) -> bytes:
    return rf"{{\rtf1\ansi {english(index)}\par}}".encode()


def _json(index: int) -> bytes:
    return json.dumps(
        {"id": index, "note": english(index), "заметка": russian(index)}, ensure_ascii=False
    ).encode()


_MAKERS: tuple[tuple[str, Callable[[int], bytes]], ...] = (
    ("txt", lambda i: english(i).encode()),
    ("txt", lambda i: russian(i).encode()),
    ("md", _markdown),
    ("txt", lambda i: russian(i).encode("cp1251")),
    ("csv", lambda i: f"code,name\n{i},{english(i)}\n".encode()),
    ("docx", lambda i: docx([f"# Документ {i}", russian(i)], title=f"Документ {i}")),
    ("pdf", lambda i: pdf([english(i), russian(i)])),
    ("html", _html),
    ("xlsx", lambda i: xlsx([["Код", "Имя"], [i, russian(i)]])),
    ("json", _json),
    ("pptx", lambda i: pptx([f"Slide {i}", english(i)])),
    ("odt", lambda i: odt([f"# Текст {i}", russian(i)])),
    ("eml", _email),
    ("epub", lambda i: epub([(f"Chapter {i}", english(i))], title=f"Book {i}")),
    ("py", lambda i: f'def note_{i}():\n    return "{english(i)}"\n'.encode()),
    ("rtf", _rtf),
    ("txt", lambda i: russian(i).encode("utf-16")),
)
