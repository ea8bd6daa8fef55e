"""Small office files and books, written with zipfile: docx, xlsx, pptx, odt, epub, and locked ones."""

import io
import struct
import zipfile
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

_XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
_OOXML = "http://schemas.openxmlformats.org"
_TYPES = f"{_OOXML}/package/2006/content-types"
_RELATIONS = f"{_OOXML}/package/2006/relationships"
_OFFICE = f"{_OOXML}/officeDocument/2006/relationships"
_WORD = f"{_OOXML}/wordprocessingml/2006/main"
_SHEET = f"{_OOXML}/spreadsheetml/2006/main"
_SLIDE = f"{_OOXML}/presentationml/2006/main"
_DRAWING = f"{_OOXML}/drawingml/2006/main"
_ODF = "urn:oasis:names:tc:opendocument:xmlns"


def archive(members: Mapping[str, str | bytes], *, stored_first: bool = False) -> bytes:
    """Zip ``members``; ``stored_first`` leaves the first one uncompressed, as odt and epub demand."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for index, (name, data) in enumerate(members.items()):
            kind = zipfile.ZIP_STORED if stored_first and index == 0 else zipfile.ZIP_DEFLATED
            file.writestr(zipfile.ZipInfo(name, (2024, 1, 1, 0, 0, 0)), data, kind)
    return buffer.getvalue()


def docx(blocks: Sequence[str], *, title: str | None = None, author: str | None = None) -> bytes:
    """Write a document; a block that starts with "# " or "## " is a heading."""
    body = "".join(_paragraph(block) for block in blocks)
    return archive(
        {
            "[Content_Types].xml": _content_types({"/word/document.xml": "wordprocessingml.document.main"}),
            "_rels/.rels": _package("word/document.xml"),
            "docProps/core.xml": _core(title, author),
            "word/document.xml": f'{_XML}<w:document xmlns:w="{_WORD}"><w:body>{body}</w:body></w:document>',
            "word/styles.xml": _styles(),
            "word/_rels/document.xml.rels": _relations({"rId1": ("styles", "styles.xml")}),
        }
    )


def _paragraph(block: str) -> str:
    level = len(block) - len(block.lstrip("#"))
    style = f'<w:pPr><w:pStyle w:val="Heading{level}"/></w:pPr>' if level else ""
    return f'<w:p>{style}<w:r><w:t xml:space="preserve">{escape(block[level:].strip())}</w:t></w:r></w:p>'


def _styles() -> str:
    styles = "".join(
        f'<w:style w:type="paragraph" w:styleId="Heading{n}"><w:name w:val="heading {n}"/>'
        f'<w:pPr><w:outlineLvl w:val="{n - 1}"/></w:pPr></w:style>'
        for n in (1, 2, 3)
    )
    return f'{_XML}<w:styles xmlns:w="{_WORD}">{styles}</w:styles>'


def xlsx(rows: Sequence[Sequence[str | float]], *, sheet: str = "Sheet1") -> bytes:
    cells = "".join(f"<row>{''.join(_cell(value) for value in row)}</row>" for row in rows)
    book = f'<sheets><sheet name="{escape(sheet)}" sheetId="1" r:id="rId1"/></sheets>'
    return archive(
        {
            "[Content_Types].xml": _content_types(
                {
                    "/xl/workbook.xml": "spreadsheetml.sheet.main",
                    "/xl/worksheets/sheet1.xml": "spreadsheetml.worksheet",
                }
            ),
            "_rels/.rels": _package("xl/workbook.xml"),
            "docProps/core.xml": _core(None, None),
            "xl/workbook.xml": f'{_XML}<workbook xmlns="{_SHEET}" xmlns:r="{_OFFICE}">{book}</workbook>',
            "xl/_rels/workbook.xml.rels": _relations({"rId1": ("worksheet", "worksheets/sheet1.xml")}),
            "xl/worksheets/sheet1.xml": f'{_XML}<worksheet xmlns="{_SHEET}"><sheetData>{cells}</sheetData></worksheet>',
        }
    )


def _cell(value: str | float) -> str:
    if isinstance(value, str):
        return f'<c t="inlineStr"><is><t>{escape(value)}</t></is></c>'
    return f"<c><v>{value}</v></c>"


def pptx(slides: Sequence[str]) -> bytes:
    numbers = range(1, len(slides) + 1)
    ids = "".join(f'<p:sldId id="{255 + n}" r:id="rId{n}"/>' for n in numbers)
    spaces = f'xmlns:p="{_SLIDE}" xmlns:a="{_DRAWING}" xmlns:r="{_OFFICE}"'
    types = {f"/ppt/slides/slide{n}.xml": "presentationml.slide" for n in numbers}
    members: dict[str, str | bytes] = {
        "[Content_Types].xml": _content_types(
            {"/ppt/presentation.xml": "presentationml.presentation.main", **types}
        ),
        "_rels/.rels": _package("ppt/presentation.xml"),
        "docProps/core.xml": _core(None, None),
        "ppt/presentation.xml": f"{_XML}<p:presentation {spaces}><p:sldIdLst>{ids}</p:sldIdLst></p:presentation>",
        "ppt/_rels/presentation.xml.rels": _relations(
            {f"rId{n}": ("slide", f"slides/slide{n}.xml") for n in numbers}
        ),
    }
    for n, text in zip(numbers, slides, strict=True):
        shape = (
            '<p:sp><p:nvSpPr><p:cNvPr id="2" name="Text"/><p:cNvSpPr/><p:nvPr/></p:nvSpPr><p:spPr/>'
            f"<p:txBody><a:bodyPr/><a:p><a:r><a:t>{escape(text)}</a:t></a:r></a:p></p:txBody></p:sp>"
        )
        members[f"ppt/slides/slide{n}.xml"] = (
            f"{_XML}<p:sld {spaces}><p:cSld><p:spTree>{shape}</p:spTree></p:cSld></p:sld>"
        )
    return archive(members)


def odt(blocks: Sequence[str], *, locked: bool = False) -> bytes:
    """Write a text document; ``locked`` only declares its encryption, as readers look there first."""
    body = "".join(
        f'<text:h text:outline-level="1">{escape(block[2:])}</text:h>'
        if block.startswith("# ")
        else f"<text:p>{escape(block)}</text:p>"
        for block in blocks
    )
    spaces = f'xmlns:office="{_ODF}:office:1.0" xmlns:text="{_ODF}:text:1.0"'
    lock = "<manifest:encryption-data/>" if locked else ""
    content = f"{_XML}<office:document-content {spaces}><office:body><office:text>{body}</office:text></office:body></office:document-content>"
    return archive(
        {
            "mimetype": "application/vnd.oasis.opendocument.text",
            "content.xml": content.encode()[::-1] if locked else content,
            "META-INF/manifest.xml": f'{_XML}<manifest:manifest xmlns:manifest="{_ODF}:manifest:1.0">'
            f'<manifest:file-entry manifest:full-path="content.xml" manifest:media-type="text/xml">{lock}'
            "</manifest:file-entry></manifest:manifest>",
        },
        stored_first=True,
    )


def epub(
    chapters: Sequence[tuple[str, str]],
    *,
    title: str,
    author: str = "Nobody",
    extra: Mapping[str, str] | None = None,
) -> bytes:
    items = "".join(
        f'<item id="c{n}" href="c{n}.xhtml" media-type="application/xhtml+xml"/>'
        for n in range(len(chapters))
    )
    spine = "".join(f'<itemref idref="c{n}"/>' for n in range(len(chapters)))
    members: dict[str, str | bytes] = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": f'{_XML}<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container">'
        '<rootfiles><rootfile full-path="book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>',
        "book.opf": f'{_XML}<package version="3.0" unique-identifier="id" xmlns="http://www.idpf.org/2007/opf">'
        f'<metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:identifier id="id">1</dc:identifier>'
        f"<dc:title>{escape(title)}</dc:title><dc:creator>{escape(author)}</dc:creator><dc:language>en</dc:language></metadata>"
        f"<manifest>{items}</manifest><spine>{spine}</spine></package>",
    }
    members.update(extra or {})
    for n, (heading, text) in enumerate(chapters):
        members[f"c{n}.xhtml"] = (
            f'{_XML}<html xmlns="http://www.w3.org/1999/xhtml"><head><title>{escape(heading)}</title></head>'
            f"<body><h1>{escape(heading)}</h1><p>{escape(text)}</p></body></html>"
        )
    return archive(members, stored_first=True)


def locked_office_file() -> bytes:
    """Write the compound file that Office saves instead of a docx or xlsx with a password ([MS-OFFCRYPTO])."""
    free, chain_end, table = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
    header = struct.pack(
        "<8s16sHHHHH6xIIIIIIIIII",
        bytes.fromhex("D0CF11E0A1B11AE1"),
        b"",
        *(0x3E, 3, 0xFFFE, 9, 6),
        *(0, 1, 1, 0, 4096, chain_end, 0, chain_end, 0, 0),
    )
    header += struct.pack("<108I", *[free] * 108)
    sectors = [table, chain_end, *range(3, 10), chain_end, *range(11, 18), chain_end]
    fat = struct.pack("<128I", *sectors, *[free] * (128 - len(sectors)))
    directory = (
        _entry("Root Entry", kind=5, child=1, start=chain_end, size=0)
        + _entry("EncryptedPackage", kind=2, child=free, start=2, size=4096, right=2)
        + _entry("EncryptionInfo", kind=2, child=free, start=10, size=4096)
        + _entry("", kind=0, child=free, start=0, size=0)
    )
    return header + fat + directory + bytes(range(256)) * 16 + bytes(4096)


def _entry(name: str, *, kind: int, child: int, start: int, size: int, right: int = 0xFFFFFFFF) -> bytes:
    raw = name.encode("utf-16-le") + b"\0\0" if name else b""
    return struct.pack(
        "<64sHBBIII16xI16xIQ", raw, len(raw), kind, 1, 0xFFFFFFFF, right, child, 0, start, size
    )


def _content_types(overrides: Mapping[str, str]) -> str:
    parts = "".join(
        f'<Override PartName="{part}" ContentType="application/vnd.openxmlformats-officedocument.{kind}+xml"/>'
        for part, kind in overrides.items()
    )
    rels = "application/vnd.openxmlformats-package.relationships+xml"
    return (
        f'{_XML}<Types xmlns="{_TYPES}"><Default Extension="rels" ContentType="{rels}"/>'
        f'<Default Extension="xml" ContentType="application/xml"/>{parts}</Types>'
    )


def _package(main: str) -> str:
    core = f"{_OOXML}/package/2006/relationships/metadata/core-properties"
    return (
        f'{_XML}<Relationships xmlns="{_RELATIONS}">'
        f'<Relationship Id="r1" Type="{_OFFICE}/officeDocument" Target="{main}"/>'
        f'<Relationship Id="r2" Type="{core}" Target="docProps/core.xml"/></Relationships>'
    )


def _relations(targets: Mapping[str, tuple[str, str]]) -> str:
    rows = "".join(
        f'<Relationship Id="{key}" Type="{_OFFICE}/{kind}" Target="{target}"/>'
        for key, (kind, target) in targets.items()
    )
    return f'{_XML}<Relationships xmlns="{_RELATIONS}">{rows}</Relationships>'


def _core(title: str | None, author: str | None) -> str:
    fields = (f"<dc:title>{escape(title)}</dc:title>" if title else "") + (
        f"<dc:creator>{escape(author)}</dc:creator>" if author else ""
    )
    space = f"{_OOXML}/package/2006/metadata/core-properties"
    return f'{_XML}<cp:coreProperties xmlns:cp="{space}" xmlns:dc="http://purl.org/dc/elements/1.1/">{fields}</cp:coreProperties>'
