"""Writes PowerPoint presentations: a title slide and one slide for every heading."""

from xml.sax.saxutils import escape

from example_sources.archive import XML, content_types, pack, relationships
from example_sources.blocks import parse, sections, title_of

DRAWING = "http://schemas.openxmlformats.org/drawingml/2006/main"
SPACES = (
    f'xmlns:a="{DRAWING}" xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main" '
    'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"'
)
GROUP = (
    '<p:nvGrpSpPr><p:cNvPr id="1" name=""/><p:cNvGrpSpPr/><p:nvPr/></p:nvGrpSpPr>'
    '<p:grpSpPr><a:xfrm><a:off x="0" y="0"/><a:ext cx="0" cy="0"/>'
    '<a:chOff x="0" y="0"/><a:chExt cx="0" cy="0"/></a:xfrm></p:grpSpPr>'
)
COLOURS = {
    "dk1": "000000",
    "lt1": "FFFFFF",
    "dk2": "3B3B3B",
    "lt2": "EFEBE4",
    "accent1": "8A5A2B",
    "accent2": "4F6D57",
    "accent3": "B08D57",
    "accent4": "5B6C7D",
    "accent5": "A34A3A",
    "accent6": "7A7A52",
    "hlink": "1F5C8A",
    "folHlink": "6A4C7D",
}


def pptx(source: str) -> bytes:
    """Turn a source into a presentation."""
    blocks = parse(source)
    slides = [_slide(title_of(blocks), [])]
    slides += [_slide(part.heading.text, [block.text for block in part.body]) for part in sections(blocks)]
    names = [f"ppt/slides/slide{number}.xml" for number in range(1, len(slides) + 1)]
    layout = relationships([("slideLayout", "../slideLayouts/slideLayout1.xml")])
    links = {f"ppt/slides/_rels/slide{number}.xml.rels": layout for number in range(1, len(slides) + 1)}
    return pack(_frame(names) | dict(zip(names, slides, strict=True)) | links)


def _frame(names: list[str]) -> dict[str, str]:
    """Return the parts every presentation needs before its first slide."""
    kinds = {
        "ppt/presentation.xml": "presentationml.presentation.main",
        "ppt/slideMasters/slideMaster1.xml": "presentationml.slideMaster",
        "ppt/slideLayouts/slideLayout1.xml": "presentationml.slideLayout",
        "ppt/theme/theme1.xml": "theme",
    }
    targets = [("slideMaster", "slideMasters/slideMaster1.xml")]
    targets += [("slide", name.removeprefix("ppt/")) for name in names]
    return {
        "[Content_Types].xml": content_types(kinds | dict.fromkeys(names, "presentationml.slide")),
        "_rels/.rels": relationships([("officeDocument", "ppt/presentation.xml")]),
        "ppt/presentation.xml": _presentation(len(names)),
        "ppt/_rels/presentation.xml.rels": relationships(targets),
        "ppt/slideMasters/slideMaster1.xml": _master(),
        "ppt/slideMasters/_rels/slideMaster1.xml.rels": relationships(
            [("slideLayout", "../slideLayouts/slideLayout1.xml"), ("theme", "../theme/theme1.xml")]
        ),
        "ppt/slideLayouts/slideLayout1.xml": f"{XML}<p:sldLayout {SPACES}><p:cSld><p:spTree>{GROUP}</p:spTree>"
        "</p:cSld></p:sldLayout>",
        "ppt/slideLayouts/_rels/slideLayout1.xml.rels": relationships(
            [("slideMaster", "../slideMasters/slideMaster1.xml")]
        ),
        "ppt/theme/theme1.xml": _theme(),
    }


def _presentation(count: int) -> str:
    listing = "".join(
        f'<p:sldId id="{255 + number}" r:id="rId{number + 1}"/>' for number in range(1, count + 1)
    )
    return (
        f"{XML}<p:presentation {SPACES}>"
        '<p:sldMasterIdLst><p:sldMasterId id="2147483648" r:id="rId1"/></p:sldMasterIdLst>'
        f'<p:sldIdLst>{listing}</p:sldIdLst><p:sldSz cx="12192000" cy="6858000"/>'
        '<p:notesSz cx="6858000" cy="9144000"/></p:presentation>'
    )


def _master() -> str:
    colours = {name: name for name in COLOURS} | {"bg1": "lt1", "tx1": "dk1", "bg2": "lt2", "tx2": "dk2"}
    mapping = " ".join(f'{name}="{to}"' for name, to in colours.items() if not name.startswith(("dk", "lt")))
    return (
        f"{XML}<p:sldMaster {SPACES}><p:cSld><p:spTree>{GROUP}</p:spTree></p:cSld><p:clrMap {mapping}/>"
        '<p:sldLayoutIdLst><p:sldLayoutId id="2147483649" r:id="rId1"/></p:sldLayoutIdLst></p:sldMaster>'
    )


def _theme() -> str:
    colours = "".join(f'<a:{name}><a:srgbClr val="{value}"/></a:{name}>' for name, value in COLOURS.items())
    font = '<a:latin typeface="Arial"/><a:ea typeface=""/><a:cs typeface=""/>'
    fill = '<a:solidFill><a:schemeClr val="phClr"/></a:solidFill>'
    return (
        f'{XML}<a:theme xmlns:a="{DRAWING}" name="Plain"><a:themeElements>'
        f'<a:clrScheme name="Plain">{colours}</a:clrScheme>'
        f'<a:fontScheme name="Plain"><a:majorFont>{font}</a:majorFont><a:minorFont>{font}</a:minorFont>'
        f'</a:fontScheme><a:fmtScheme name="Plain"><a:fillStyleLst>{fill * 3}</a:fillStyleLst>'
        f"<a:lnStyleLst>{f'<a:ln>{fill}</a:ln>' * 3}</a:lnStyleLst><a:effectStyleLst>"
        f"{'<a:effectStyle><a:effectLst/></a:effectStyle>' * 3}</a:effectStyleLst>"
        f"<a:bgFillStyleLst>{fill * 3}</a:bgFillStyleLst></a:fmtScheme></a:themeElements></a:theme>"
    )


def _slide(title: str, lines: list[str]) -> str:
    body = _shape(3, "body", lines, top=1600000, height=4600000) if lines else ""
    return (
        f"{XML}<p:sld {SPACES}><p:cSld><p:spTree>{GROUP}"
        f"{_shape(2, 'title', [title], top=400000, height=1000000)}{body}</p:spTree></p:cSld></p:sld>"
    )


def _shape(number: int, place: str, lines: list[str], *, top: int, height: int) -> str:
    paragraphs = "".join(f"<a:p><a:r><a:t>{escape(line)}</a:t></a:r></a:p>" for line in lines)
    return (
        f'<p:sp><p:nvSpPr><p:cNvPr id="{number}" name="{place}"/><p:cNvSpPr/><p:nvPr><p:ph type="{place}"/></p:nvPr>'
        f'</p:nvSpPr><p:spPr><a:xfrm><a:off x="600000" y="{top}"/><a:ext cx="10900000" cy="{height}"/></a:xfrm>'
        '<a:prstGeom prst="rect"><a:avLst/></a:prstGeom></p:spPr>'
        f'<p:txBody><a:bodyPr wrap="square"/>{paragraphs}</p:txBody></p:sp>'
    )
