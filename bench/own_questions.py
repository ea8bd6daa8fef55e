"""Our own passages and questions in English and Russian (bench/questions), written for this repository."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "questions"
CROSS_LANGUAGE = "cross-language"
LANGUAGES = {"en": "English", "ru": "Russian"}


@dataclass(frozen=True, slots=True)
class Passage:
    passage_id: str
    language: str
    title: str
    text: str

    def as_markdown(self) -> str:
        return f"# {self.title}\n\n{self.text}\n"


@dataclass(frozen=True, slots=True)
class Question:
    text: str
    relevant: frozenset[str]
    group: str  # The language of both, or cross-language.


def load() -> tuple[list[Passage], list[Question]]:
    passages = [
        Passage(each["id"], each["language"], each["title"], each["text"])
        for each in _lines("passages.jsonl")
    ]
    languages = {passage.passage_id: passage.language for passage in passages}
    return passages, [_question(each, languages) for each in _lines("questions.jsonl")]


def _lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / name).read_text("utf-8").splitlines() if line.strip()]


def _question(stored: dict[str, Any], languages: dict[str, str]) -> Question:
    answered_in = {languages[passage] for passage in stored["relevant"]}
    same = answered_in == {stored["language"]}
    group = LANGUAGES[stored["language"]] if same else CROSS_LANGUAGE
    return Question(stored["question"], frozenset(stored["relevant"]), group)
