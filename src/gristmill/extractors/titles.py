"""What a text says about itself at its beginning: title and author. A file's name is never asked."""

import html
import re

_TITLE_CHARACTERS = 300
_START_CHARACTERS = 65_536
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_FIELD = re.compile(r"""^(title|author):[ \t]*["']?(.*?)["']?[ \t]*$""", re.MULTILINE | re.IGNORECASE)
_HEADING = re.compile(
    r"^ {0,3}(?:(?P<marks>#{1,6})[ \t]+(?P<text>.*?)(?:[ \t]+#+)?|(?P<line>\S.*)\n {0,3}(?P<rule>=|-)(?P=rule)+)[ \t]*$",
    re.MULTILINE,
)
_FENCED = re.compile(r"^ {0,3}(```+|~~~+).*?(?:^ {0,3}\1|\Z)", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"!?\[([^\]]*)\]\([^)]*\)|[*`]+|\\(?=[^\w\s])")
_HTML_TITLE = re.compile(r"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)
_HTML_AUTHOR = re.compile(r"""<meta[^>]*name=["']?author["']?[^>]*content=["']([^"']*)""", re.IGNORECASE)
_PLACEHOLDERS = frozenset({"untitled", "untitled document", "document", "без имени", "без названия", "title"})


def tidy(title: str | None) -> str | None:
    """One line without markup; None for what programs write when nobody gave a title."""
    if title is None:
        return None
    line = " ".join(_INLINE.sub(lambda match: match[1] or "", title).split())
    line = line.removeprefix("Microsoft Word - ").removeprefix("Microsoft PowerPoint - ")
    return line[:_TITLE_CHARACTERS].strip() if line and line.lower() not in _PLACEHOLDERS else None


def front_matter(text: str) -> dict[str, str]:
    """Read the title and author that a block between two lines of dashes gives at the top."""
    block = _FRONT_MATTER.match(text[:_START_CHARACTERS])
    return {key.lower(): value for key, value in _FIELD.findall(block[1]) if value} if block else {}


def first_heading(markdown: str, *, deepest: int = 6) -> str | None:
    """Return the first heading of level ``deepest`` or higher, outside of code and front matter."""
    start = _FRONT_MATTER.sub("", markdown[:_START_CHARACTERS], count=1)
    if "```" in start or "~~~" in start:
        start = _FENCED.sub("", start)
    for match in _HEADING.finditer(start):
        level = len(match["marks"]) if match["marks"] else 1 if match["rule"] == "=" else 2
        if level <= deepest and (title := tidy(match["text"] or match["line"])):
            return title
    return None


def html_head(source: str) -> tuple[str | None, str | None]:
    """Return the title and the author that the head of a page gives."""
    start = source[:_START_CHARACTERS]
    title, author = _HTML_TITLE.search(start), _HTML_AUTHOR.search(start)
    return tidy(html.unescape(title[1])) if title else None, html.unescape(
        author[1]
    ).strip() if author else None
