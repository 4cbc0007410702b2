"""Every fuzz target by name, and its corpus."""

from pathlib import Path

from tests.fuzz import assertion, connection, node, routing, sidecar, token_request, token_response
from tests.fuzz.broken import BROKEN
from tests.fuzz.target import Target

CORPUS = Path(__file__).parent / "corpus"

TARGETS = {
    "connection": Target(connection.check, runs=4_000, words=("http",)),
    "routing": Target(routing.check, runs=10_000, words=("paths",)),
    "sidecar": Target(sidecar.check, runs=2_000, words=("http", "paths"), longest=2048),
    "node": Target(node.check, runs=10_000, words=("answers",)),
    "authority": Target(token_response.check, runs=20_000, words=("entra",)),
    "assertion": Target(assertion.check, runs=20_000, words=("assertions",)),
    "gateway": Target(token_request.check, runs=20_000, words=("assertions", "gateway")),
}

EVERY = {**TARGETS, **BROKEN}


def corpus(name: str) -> Path:
    """Return the folder of a target's committed inputs; a broken variant uses those of the original."""
    return CORPUS / name.partition("-without-")[0]


def inputs(name: str) -> list[Path]:
    """Return the committed inputs of a target, by name."""
    return sorted(corpus(name).iterdir())
