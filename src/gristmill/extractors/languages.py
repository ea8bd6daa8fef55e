"""Russian, Ukrainian or English, by letters and frequent words; anything else is not guessed."""

import re
from collections.abc import Sequence

_SAMPLE_CHARACTERS = 20_000
_ENOUGH_LETTERS, _MOSTLY = 10, 0.6
_CYRILLIC = re.compile("[\u0400-\u04ff]+")
_LATIN = re.compile("[a-z\u00c0-\u024f]+")
_RUSSIAN_ONLY = re.compile("[ыэё]")
_UKRAINIAN = re.compile("[іїєґ]")
_NOT_RUSSIAN = re.compile("[^а-яё]")  # noqa: RUF001 - Cyrillic is meant.
_LONG_TEXT = 300
_ENGLISH_WORDS = "the of and to is for that with on are it be this as by or was from not you at which"
_ENGLISH = frozenset(_ENGLISH_WORDS.split())
_ENGLISH_SHARE, _FEWEST_ENGLISH = 0.08, 2
_CODE = re.compile(r"([a-z]{2})(?:[-_].*)?")


def language_of(text: str, declared: str | None = None) -> str | None:
    """Return an ISO 639-1 code; ``declared`` is believed only where the letters do not decide.

    Office programs declare the language of the program, not of the text.
    """
    sample = text[:_SAMPLE_CHARACTERS].lower()
    cyrillic, words = "".join(_CYRILLIC.findall(sample)), _LATIN.findall(sample)
    latin = sum(map(len, words))
    if len(cyrillic) >= _ENOUGH_LETTERS and len(cyrillic) >= _MOSTLY * (len(cyrillic) + latin):
        return _cyrillic_language(cyrillic)
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


def _is_english(words: Sequence[str]) -> bool:
    frequent = sum(map(_ENGLISH.__contains__, words))
    return frequent >= _FEWEST_ENGLISH and frequent >= _ENGLISH_SHARE * len(words)
