"""The committed corpus, replayed: the fast tests repeat everything that fuzzing once reached."""

from pathlib import Path

import pytest

from tests.fuzz.broken import BROKEN
from tests.fuzz.catalogue import CORPUS, TARGETS, inputs
from tests.fuzz.target import cuttings, expanded


@pytest.mark.parametrize("name", TARGETS)
def test_no_corpus_input_breaks_an_invariant(name: str) -> None:
    for file in inputs(name):
        try:
            TARGETS[name].check(file.read_bytes())
        except Exception as error:
            error.add_note(
                f"with {file.relative_to(Path.cwd())}" if file.is_relative_to(Path.cwd()) else f"with {file}"
            )
            raise


@pytest.mark.system
@pytest.mark.parametrize("name", BROKEN)
def test_corpus_finds_every_removed_rule(name: str) -> None:
    """Otherwise the invariants would be ineffective."""
    assert [file.name for file in inputs(name) if _fails(name, file.read_bytes())]


def _fails(name: str, data: bytes) -> bool:
    try:
        BROKEN[name].check(data)
    except (AssertionError, ArithmeticError):
        return True
    return False


def test_every_target_has_a_corpus_of_small_files() -> None:
    """And every folder has a target."""
    assert {folder.name for folder in CORPUS.iterdir()} == set(TARGETS)
    for name, target in TARGETS.items():
        sizes = [file.stat().st_size for file in inputs(name)]
        assert len(sizes) >= 20
        assert max(sizes) <= target.longest


def test_every_target_has_a_variant_with_a_removed_rule() -> None:
    """It proves that the target can fail."""
    assert {name.partition("-without-")[0] for name in BROKEN} == set(TARGETS)


@pytest.mark.parametrize(
    "data, written_out",
    [
        (b"a<<3*bc>>d", b"abcbcbcd"),
        (b"<<0*a>>", b""),
        (b"<<999999*a>>", b"a" * 200_000),
        (b"<<999999*a>><<5*b>>", b"a" * 200_000),
        (b"<<3*>> <<x*a>> <3*a>", b"<<3*>> <<x*a>> <3*a>"),
    ],
    ids=["twice", "none", "too many", "no room left", "something else"],
)
def test_repetition_in_an_input_is_expanded_within_a_bound(data: bytes, written_out: bytes) -> None:
    assert expanded(data) == written_out


@pytest.mark.parametrize("data", [b"", b"a", b"GET / HTTP/1.1\r\n", b"a" * 5000], ids=["empty", "one", "some", "many"])
def test_pieces_are_the_whole_input_and_always_the_same(data: bytes) -> None:
    ways = list(cuttings(data))
    assert all(b"".join(pieces) == data for pieces in ways)
    assert ways == list(cuttings(data))
    assert any(len(pieces) > 1 for pieces in ways)
