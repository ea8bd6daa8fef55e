"""Russian, Ukrainian or English, by letters and frequent words; anything else is not guessed."""

import re
from collections.abc import Sequence
from string import ascii_lowercase

_SAMPLE_CHARACTERS = 20_000
_ENOUGH_LETTERS, _MOSTLY = 10, 0.6
_CYRILLIC = re.compile("[\u0400-\u04ff]+")
# The first bytes, in UTF-8, of U+0400 to U+04FF and of U+00C0 to U+024F (and a few more of their kind).
_CYRILLIC_LEADS, _LATIN_LEADS = bytes(range(0xD0, 0xD4)), bytes(range(0xC3, 0xCA))
_ONLY_ASCII_LETTERS = bytes(code if chr(code) in ascii_lowercase else 0x20 for code in range(256))
_RUSSIAN_ONLY = re.compile("[ыэё]")
_UKRAINIAN = re.compile("[іїєґ]")
_NOT_RUSSIAN = re.compile("[^а-яё]")  # noqa: RUF001 - Cyrillic is meant.
_LONG_TEXT = 300
_ENGLISH_WORDS = "the of and to is for that with on are it be this as by or was from not you at which"
_ENGLISH = frozenset(_ENGLISH_WORDS.encode().split())
_ENGLISH_SHARE, _FEWEST_ENGLISH = 0.08, 2
_CODE = re.compile(r"([a-z]{2})(?:[-_].*)?")


def language_of(text: str, declared: str | None = None) -> str | None:
    """Return an ISO 639-1 code; ``declared`` is believed only where the letters do not decide.

    Office programs declare the language of the program, not of the text.
    """
    sample = text[:_SAMPLE_CHARACTERS].lower()
    # Counted in UTF-8, which takes a tenth of what searching the text for letters does.
    encoded = sample.encode("utf-8", "replace")
    cyrillic = _count(encoded, _CYRILLIC_LEADS)
    words = encoded.translate(_ONLY_ASCII_LETTERS).split()
    latin = sum(map(len, words)) + _count(encoded, _LATIN_LEADS)
    if cyrillic >= _ENOUGH_LETTERS and cyrillic >= _MOSTLY * (cyrillic + latin):
        return _cyrillic_language("".join(_CYRILLIC.findall(sample)))
    if latin >= _ENOUGH_LETTERS and _is_english(words):
        return "en"
    match = _CODE.fullmatch(declared.strip().lower()) if declared else None
    return match[1] if match and not cyrillic else None


def _cyrillic_language(letters: str) -> str | None:
    if len(_UKRAINIAN.findall(letters)) > 0.02 * len(letters):
        return "uk"
    if len(_NOT_RUSSIAN.findall(letters)) > 0.01 * len(letters):
        return None
    return "ru" if len(letters) < _LONG_TEXT or _RUSSIAN_ONLY.search(letters) else None


def _count(encoded: bytes, leads: bytes) -> int:
    return len(encoded) - len(encoded.translate(None, leads))


def _is_english(words: Sequence[bytes]) -> bool:
    frequent = sum(map(_ENGLISH.__contains__, words))
    return frequent >= _FEWEST_ENGLISH and frequent >= _ENGLISH_SHARE * len(words)
