"""Writes Word documents and Excel workbooks."""

import csv
import io
from xml.sax.saxutils import escape, quoteattr

from example_sources.archive import XML, content_types, pack, relationships
from example_sources.blocks import Block, parse

WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
SHEET = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
WORD_STYLES = {"title": "Title", "heading": "Heading1", "item": "ListBullet", "paragraph": "Normal"}


def docx(source: str) -> bytes:
    """Turn a source into a Word document with styled headings and tables."""
    body = "".join(_word_block(block) for block in parse(source))
    return pack(
        {
            "[Content_Types].xml": content_types(
                {
                    "word/document.xml": "wordprocessingml.document.main",
                    "word/styles.xml": "wordprocessingml.styles",
                }
            ),
            "_rels/.rels": relationships([("officeDocument", "word/document.xml")]),
            "word/_rels/document.xml.rels": relationships([("styles", "styles.xml")]),
            "word/document.xml": f'{XML}<w:document xmlns:w="{WORD}"><w:body>{body}</w:body></w:document>',
            "word/styles.xml": _word_styles(),
        }
    )


def _word_styles() -> str:
    styles = "".join(
        f'<w:style w:type="paragraph" w:styleId="{name}"><w:name w:val="{label}"/>{extra}</w:style>'
        for name, label, extra in (
            ("Normal", "Normal", ""),
            ("Title", "Title", "<w:rPr><w:b/><w:sz w:val='40'/></w:rPr>"),
            ("Heading1", "heading 1", "<w:pPr><w:outlineLvl w:val='0'/></w:pPr><w:rPr><w:b/></w:rPr>"),
            ("ListBullet", "List Bullet", ""),
        )
    )
    return f'{XML}<w:styles xmlns:w="{WORD}">{styles}</w:styles>'


def _word_block(block: Block) -> str:
    if block.kind == "table":
        rows = "".join(f"<w:tr>{''.join(_word_cell(cell) for cell in row)}</w:tr>" for row in block.rows)
        grid = "<w:gridCol/>" * len(block.rows[0])
        return f"<w:tbl><w:tblPr/><w:tblGrid>{grid}</w:tblGrid>{rows}</w:tbl>"
    return _word_paragraph(block.xml, WORD_STYLES[block.kind])


def _word_paragraph(text: str, style: str) -> str:
    properties = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>'
    return f'<w:p>{properties}<w:r><w:t xml:space="preserve">{text}</w:t></w:r></w:p>'


def _word_cell(text: str) -> str:
    return f"<w:tc><w:tcPr/>{_word_paragraph(escape(text), 'Normal')}</w:tc>"


def xlsx(source: str) -> bytes:
    """Turn CSV into a workbook; a line `Sheet,name` starts the next sheet."""
    sheets = _split_sheets(source)
    names = [f"xl/worksheets/sheet{number}.xml" for number in range(1, len(sheets) + 1)]
    listing = "".join(
        f'<sheet name={quoteattr(title)} sheetId="{number}" r:id="rId{number}"/>'
        for number, title in enumerate(sheets, 1)
    )
    parts = {"xl/workbook.xml": "spreadsheetml.sheet.main"} | dict.fromkeys(names, "spreadsheetml.worksheet")
    return pack(
        {
            "[Content_Types].xml": content_types(parts),
            "_rels/.rels": relationships([("officeDocument", "xl/workbook.xml")]),
            "xl/_rels/workbook.xml.rels": relationships(
                [("worksheet", name.removeprefix("xl/")) for name in names]
            ),
            "xl/workbook.xml": f'{XML}<workbook xmlns="{SHEET}" xmlns:r="{RELATIONS}">'
            f"<sheets>{listing}</sheets></workbook>",
        }
        | {name: _sheet(rows) for name, rows in zip(names, sheets.values(), strict=True)}
    )


def _split_sheets(source: str) -> dict[str, list[list[str]]]:
    sheets: dict[str, list[list[str]]] = {}
    rows: list[list[str]] = []
    for row in csv.reader(io.StringIO(source)):
        if row[0] == "Sheet":
            rows = sheets.setdefault(row[1], [])
        else:
            rows.append(row)
    return sheets


def _sheet(rows: list[list[str]]) -> str:
    lines = "".join(
        f'<row r="{number}">{"".join(_cell(f"{chr(65 + at)}{number}", text) for at, text in enumerate(row))}</row>'
        for number, row in enumerate(rows, 1)
    )
    return f'{XML}<worksheet xmlns="{SHEET}"><sheetData>{lines}</sheetData></worksheet>'


def _cell(reference: str, text: str) -> str:
    if text.replace(".", "", 1).isdigit():
        return f'<c r="{reference}"><v>{text}</v></c>'
    return f'<c r="{reference}" t="inlineStr"><is><t>{escape(text)}</t></is></c>'
