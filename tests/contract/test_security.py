"""SECURITY.md: every claim names the tests that prove it, and every test that it names is there."""

import ast
import functools
import re
from collections.abc import Iterator

import pytest

from tests.support.paths import ROOT

TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
WITHOUT_CLAIMS = ("Reporting a vulnerability", "How to read this page", "Supported versions")
_NAMED = re.compile(r"`(tests/[^`:]+\.py)::([^`\[]+)(?:\[([^`]+)\])?`")


def claims(text: str) -> Iterator[str]:
    """Yield each row of a table, item of a list and other paragraph of the sections that make claims, as one line."""
    for section in text.split("\n## ")[1:]:
        heading, _, body = section.partition("\n")
        if heading in WITHOUT_CLAIMS:
            continue
        for block in re.split(r"\n\s*\n", body.strip()):
            lines = block.splitlines()
            if lines[0].startswith("|"):
                yield from lines[2:]  # after the head and the line below it
            else:
                yield from (" ".join(each.split()) for each in re.split(r"\n(?=- )", block))


def faults(text: str) -> list[str]:
    """Return what is wrong with a SECURITY.md: claims without a test, and tests that are not there."""
    found = []
    for claim in claims(text):
        named = _NAMED.findall(claim)
        if not named:
            found.append(f"names no test: {claim[:80]}")
        found += [f"no such test: {path}::{name}" for path, name, case in named if not exists(path, name, case)]
    return found


def exists(path: str, name: str, case: str = "") -> bool:
    """Tell whether the file has a test `name` (or `Class::name`); one with a `case` is parametrised and has that id.

    Ids may come from another module of the tests, where the cases are.
    """
    if not (ROOT / path).is_file():
        return False
    tests = _tests(path)
    if not case:
        return name in tests
    beside = (ROOT / path).parent.rglob("*.py")
    return name in tests and tests[name] and any(case in each.read_text(encoding="utf-8") for each in beside)


@functools.cache
def _tests(path: str) -> dict[str, bool]:
    """Return the tests of a file by name, and whether each is parametrised."""
    found: dict[str, bool] = {}
    for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        for each in inside:
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) and each.name.startswith("test_"):
                name = f"{node.name}::{each.name}" if isinstance(node, ast.ClassDef) else each.name
                found[name] = any("parametrize" in ast.dump(decorator) for decorator in each.decorator_list)
    return found


def test_every_claim_is_proven_by_tests_that_are_there() -> None:
    """A claim that nobody tests is one that need not be true."""
    assert faults(TEXT) == []


def test_there_are_claims() -> None:
    """The table of the threat model and the lists are found, so that what is checked is not nothing."""
    assert sum(each.startswith("|") for each in claims(TEXT)) >= 20
    assert sum(each.startswith("- ") for each in claims(TEXT)) >= 15


WRONG = {
    "a row without a test": ("| who | what | stops | |", "names no test"),
    "an item without a test": ("- It is safe.", "names no test"),
    "a paragraph without a test": ("It is safe.", "names no test"),
    "a file that is not there": ("- Safe. `tests/test_nothing.py::test_it`", "no such test"),
    "a test that is not there": ("- Safe. `tests/contract/test_security.py::test_nothing`", "no such test"),
    "a function that is no test": ("- Safe. `tests/contract/test_security.py::faults`", "no such test"),
    "a case of no parametrised test": (
        "- Safe. `tests/contract/test_security.py::test_there_are_claims[x]`",
        "no such test",
    ),
    "a case that is not there": (
        f"- Safe. `tests/contract/test_security.py::test_what_is_wrong_is_found[{'x' * 3}yz]`",
        "no such",
    ),
}


@pytest.mark.parametrize("claim, fault", WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_found(claim: str, fault: str) -> None:
    """The last claim of a page that is otherwise right."""
    table = f"| a | b | c | d |\n|---|---|---|---|\n{claim}" if claim.startswith("|") else claim
    (found,) = faults(f"# Security\n\n## Supported versions\n\nAll.\n\n## More\n\n{table}\n")
    assert found.startswith(fault)


def test_what_is_right_is_not_a_fault() -> None:
    """With a class, and with a case of a parametrised test."""
    right = (
        "- One. `tests/unit/wisp/http/test_epoll_server.py::"
        "TestConnectionLimit::test_longest_idle_connection_is_evicted`\n"
        "- Two,\n  on two lines. "
        "`tests/contract/test_security.py::test_what_is_wrong_is_found[a case that is not there]`"
    )
    assert faults(f"# Security\n\n## More\n\n{right}\n") == []


def test_reports_have_an_address() -> None:
    """A place where they are private, and no mailbox that nobody reads."""
    reporting = TEXT.partition("## Reporting a vulnerability")[2].partition("\n## ")[0]
    assert "](../../security/advisories/new)" in reporting
    assert not re.search(r"[\w.]+@[\w.]+", TEXT)
