"""Writes OpenDocument texts and electronic books."""

from xml.sax.saxutils import escape

from example_sources.archive import XML, pack
from example_sources.blocks import Block, Section, parse, sections, title_of

OASIS = "urn:oasis:names:tc:opendocument:xmlns"
ODT_TYPE = "application/vnd.oasis.opendocument.text"


def odt(source: str) -> bytes:
    """Turn a source into an OpenDocument text."""
    body = "".join(_odt_block(block) for block in parse(source))
    spaces = " ".join(f'xmlns:{name}="{OASIS}:{name}:1.0"' for name in ("office", "text", "table"))
    content = (
        f'{XML}<office:document-content {spaces} office:version="1.3">'
        f"<office:body><office:text>{body}</office:text></office:body></office:document-content>"
    )
    return pack({"mimetype": ODT_TYPE, "META-INF/manifest.xml": _odt_manifest(), "content.xml": content})


def _odt_manifest() -> str:
    return (
        f'{XML}<manifest:manifest xmlns:manifest="{OASIS}:manifest:1.0" manifest:version="1.3">'
        f'<manifest:file-entry manifest:full-path="/" manifest:media-type="{ODT_TYPE}"/>'
        '<manifest:file-entry manifest:full-path="content.xml" manifest:media-type="text/xml"/>'
        "</manifest:manifest>"
    )


def _odt_block(block: Block) -> str:
    if block.kind == "table":
        rows = "".join(
            f"<table:table-row>{''.join(_odt_cell(cell) for cell in row)}</table:table-row>"
            for row in block.rows
        )
        columns = f'<table:table-column table:number-columns-repeated="{len(block.rows[0])}"/>'
        return f'<table:table table:name="Table1">{columns}{rows}</table:table>'
    if block.kind in {"title", "heading"}:
        level = 1 if block.kind == "title" else 2
        return f'<text:h text:outline-level="{level}">{block.xml}</text:h>'
    return f"<text:p>{block.xml}</text:p>"


def _odt_cell(text: str) -> str:
    return f'<table:table-cell office:value-type="string"><text:p>{escape(text)}</text:p></table:table-cell>'


def epub(source: str) -> bytes:
    """Turn a source into an electronic book with one chapter for every heading."""
    blocks = parse(source)
    chapters = sections(blocks)
    names = [f"chapter{number}.xhtml" for number in range(1, len(chapters) + 1)]
    return pack(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": f"{XML}<container "
            'xmlns="urn:oasis:names:tc:opendocument:xmlns:container" version="1.0"><rootfiles>'
            '<rootfile full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/>'
            "</rootfiles></container>",
            "OEBPS/book.opf": _epub_package(escape(title_of(blocks)), names),
            "OEBPS/nav.xhtml": _epub_contents(chapters, names),
        }
        | {f"OEBPS/{name}": _epub_chapter(part) for name, part in zip(names, chapters, strict=True)}
    )


def _epub_package(title: str, names: list[str]) -> str:
    items = "".join(
        f'<item id="{name[:-6]}" href="{name}" media-type="application/xhtml+xml"/>' for name in names
    )
    spine = "".join(f'<itemref idref="{name[:-6]}"/>' for name in names)
    return (
        f'{XML}<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="id">'
        '<metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:identifier id="id">tarnbeck-timber</dc:identifier>'
        f"<dc:title>{title}</dc:title><dc:language>en</dc:language>"
        '<meta property="dcterms:modified">2024-01-01T00:00:00Z</meta></metadata><manifest>'
        '<item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>'
        f"{items}</manifest><spine>{spine}</spine></package>"
    )


def _epub_contents(chapters: list[Section], names: list[str]) -> str:
    links = "".join(
        f'<li><a href="{name}">{part.heading.xml}</a></li>'
        for name, part in zip(names, chapters, strict=True)
    )
    listing = f'<nav xmlns:epub="http://www.idpf.org/2007/ops" epub:type="toc"><ol>{links}</ol></nav>'
    return _page("Contents", listing)


def _epub_chapter(part: Section) -> str:
    paragraphs = "".join(f"<p>{block.xml}</p>" for block in part.body)
    return _page(part.heading.xml, f"<h1>{part.heading.xml}</h1>{paragraphs}")


def _page(title: str, body: str) -> str:
    return (
        f'{XML}<html xmlns="http://www.w3.org/1999/xhtml"><head><title>{title}</title></head>'
        f"<body>{body}</body></html>"
    )
