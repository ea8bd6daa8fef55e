"""Reads the small Markdown subset in which the sources of the binary examples are written."""

from dataclasses import dataclass, field
from xml.sax.saxutils import escape


@dataclass(frozen=True)
class Block:
    """One piece of a document: title, heading, paragraph, item or table."""

    kind: str
    text: str = ""
    rows: list[list[str]] = field(default_factory=list)

    @property
    def xml(self) -> str:
        """The text, safe between XML tags."""
        return escape(self.text)


@dataclass(frozen=True)
class Section:
    """A second-level heading and the blocks below it."""

    heading: Block
    body: list[Block]


def parse(source: str) -> list[Block]:
    """Split a source into blocks; neighbouring table lines become one table."""
    blocks: list[Block] = []
    for line in source.splitlines():
        if line.startswith("|"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if not blocks or blocks[-1].kind != "table":
                blocks.append(Block("table"))
            blocks[-1].rows.append(cells)
        elif line.strip():
            blocks.append(_line_block(line.strip()))
    return blocks


def _line_block(line: str) -> Block:
    for prefix, kind in (("## ", "heading"), ("# ", "title"), ("- ", "item")):
        if line.startswith(prefix):
            return Block(kind, line.removeprefix(prefix))
    return Block("paragraph", line)


def title_of(blocks: list[Block]) -> str:
    """Return the text of the title, which every source has on its first line."""
    return blocks[0].text


def sections(blocks: list[Block]) -> list[Section]:
    """Group the blocks after the title by heading."""
    found: list[Section] = []
    for block in blocks:
        if block.kind == "heading":
            found.append(Section(block, []))
        elif found:
            found[-1].body.append(block)
    return found
