"""Writes a mail message the way a mail program stores it: encoded headers, base64 body."""

import base64
import textwrap

HEADERS = (
    ("From", "Аркадий Лунёв", "a.lunyov@severny-skat.example"),
    ("To", "Надежда Квист", "claims@tarnbeck.example"),
)
SUBJECT = "Претензия по заказу 48213"


def eml(source: str) -> bytes:
    """Turn plain text into a message with fixed date and identifier."""
    lines = [f"{field}: {_encoded(name)} <{address}>" for field, name, address in HEADERS]
    lines += [
        f"Subject: {_encoded(SUBJECT)}",
        "Date: Fri, 12 Apr 2024 09:14:00 +0300",
        "Message-ID: <48213.0412@severny-skat.example>",
        "MIME-Version: 1.0",
        'Content-Type: text/plain; charset="utf-8"',
        "Content-Transfer-Encoding: base64",
        "",
        *textwrap.wrap(base64.b64encode(source.encode()).decode(), 76),
        "",
    ]
    return "\r\n".join(lines).encode("ascii")


def _encoded(text: str) -> str:
    return f"=?utf-8?B?{base64.b64encode(text.encode()).decode()}?="
