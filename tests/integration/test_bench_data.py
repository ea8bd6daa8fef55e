from bench import own_questions
from bench.cranfield import Query, load, parse_abstracts, parse_judgements, parse_queries
from bench.own_questions import CROSS_LANGUAGE

ABSTRACTS = """.I 1
.T
flow past a
flat plate .
.A
someone
.B
a journal
.W
flow past a
flat plate .
  it is studied .
.I 2
.T
.A
.B
.W
.I 3
.T
heat .
.A
.B
.W
heat .
text
"""
QUERIES = """.I 001
.W
what is
flow .
.I 004
.W
what is heat .
"""
JUDGEMENTS = """1 1 2
1 3 -1
2 3 4
2 1 5
"""


def test_titles_are_one_line_and_texts_are_kept():
    first = next(parse_abstracts(ABSTRACTS))

    assert first.title == "flow past a flat plate ."
    assert first.text == "flow past a\nflat plate .\n  it is studied ."
    assert first.as_markdown().startswith("# flow past a flat plate .\n\nflow past a\n")


def test_abstracts_without_text_are_left_out_and_numbers_kept():
    assert [each.number for each in parse_abstracts(ABSTRACTS)] == [1, 3]


def test_judgements_name_queries_by_position(tmp_path):
    (tmp_path / "cran.all.1400").write_text(ABSTRACTS)
    (tmp_path / "cran.qry").write_text(QUERIES)
    (tmp_path / "cranqrel").write_text(JUDGEMENTS)

    assert parse_queries(QUERIES) == ["what is flow .", "what is heat ."]
    assert load(tmp_path).queries == (
        Query("what is flow .", frozenset({1})),
        Query("what is heat .", frozenset({3})),
    )


def test_only_codes_1_to_4_are_relevant():
    assert parse_judgements(JUDGEMENTS) == {1: {1}, 2: {3}}


def test_own_questions_are_answered_by_passages_that_exist():
    passages, questions = own_questions.load()
    known = {passage.passage_id for passage in passages}

    assert len(known) == len(passages)
    assert all(question.relevant and question.relevant <= known for question in questions)


def test_own_questions_come_in_both_languages_and_across_them():
    _, questions = own_questions.load()

    assert {question.group for question in questions} == {"English", "Russian", CROSS_LANGUAGE}
