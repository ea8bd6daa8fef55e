"""Writes plain PDF files in Helvetica, which needs no embedded font but knows only Western letters."""

import textwrap

from example_sources.blocks import Block, parse, title_of

PAGE_WIDTH, PAGE_HEIGHT, MARGIN, LEADING = 595, 842, 56, 15
STYLES = {"title": ("F2", 16, 56), "heading": ("F2", 12, 76), "paragraph": ("F1", 10.5, 92)}
LINES_PER_PAGE = (PAGE_HEIGHT - 2 * MARGIN) // LEADING

Line = tuple[str, float, str]


def pdf(source: str) -> bytes:
    """Turn a source without tables into a PDF; the page tree stands last, so a cut file has none."""
    blocks = parse(source)
    lines = [line for block in blocks for line in _wrap(block)]
    pages = [lines[start : start + LINES_PER_PAGE] for start in range(0, len(lines), LINES_PER_PAGE)]
    return _assemble([_page_stream(page) for page in pages], title_of(blocks))


def truncated_pdf(source: str) -> bytes:
    """Return the first half of a PDF, as an interrupted download leaves it."""
    whole = pdf(source)
    return whole[: len(whole) // 2]


def _wrap(block: Block) -> list[Line]:
    font, size, width = STYLES[block.kind]
    lines = [(font, size, line) for line in textwrap.wrap(block.text, width, break_on_hyphens=False)]
    return [*lines, ("F1", 10.5, "")] if block.kind != "heading" else lines


def _page_stream(lines: list[Line]) -> bytes:
    commands = ["BT", f"{LEADING} TL", f"{MARGIN} {PAGE_HEIGHT - MARGIN} Td"]
    for font, size, text in lines:
        safe = text.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")
        commands.append(f"/{font} {size} Tf ({safe}) Tj T*")
    return "\n".join([*commands, "ET"]).encode("cp1252")


def _assemble(streams: list[bytes], title: str) -> bytes:
    """Number the objects: fonts, streams, pages, page tree, catalog and information."""
    first_page = 3 + len(streams)
    tree = first_page + len(streams)
    objects = [_font("Helvetica"), _font("Helvetica-Bold")]
    objects += [b"<< /Length %d >>\nstream\n%b\nendstream" % (len(stream), stream) for stream in streams]
    objects += [_page(tree, 3 + number) for number in range(len(streams))]
    kids = " ".join(f"{first_page + number} 0 R" for number in range(len(streams)))
    objects.append(f"<< /Type /Pages /Kids [{kids}] /Count {len(streams)} >>".encode())
    objects.append(f"<< /Type /Catalog /Pages {tree} 0 R >>".encode())
    objects.append(f"<< /Title ({title}) >>".encode())
    return _serialize(objects, catalog=tree + 1)


def _font(name: str) -> bytes:
    return f"<< /Type /Font /Subtype /Type1 /BaseFont /{name} /Encoding /WinAnsiEncoding >>".encode()


def _page(tree: int, stream: int) -> bytes:
    return (
        f"<< /Type /Page /Parent {tree} 0 R /MediaBox [0 0 {PAGE_WIDTH} {PAGE_HEIGHT}] "
        f"/Resources << /Font << /F1 1 0 R /F2 2 0 R >> >> /Contents {stream} 0 R >>"
    ).encode()


def _serialize(objects: list[bytes], *, catalog: int) -> bytes:
    output = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(len(output))
        output += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    table = len(output)
    output += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    output += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    output += b"trailer\n<< /Size %d /Root %d 0 R /Info %d 0 R >>\n" % (
        len(objects) + 1,
        catalog,
        catalog + 1,
    )
    output += b"startxref\n%d\n%%%%EOF\n" % table
    return bytes(output)
