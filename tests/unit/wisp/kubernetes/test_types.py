"""Parsing of the API server's answers and watch events."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wisp.kubernetes.types import (
    Bookmark,
    Changed,
    Deleted,
    Event,
    Expired,
    Failed,
    ListPage,
    Metadata,
    Status,
    parse_event,
    parse_object,
    parse_page,
    parse_status,
)

PREFIX = "azure.workload.identity/"
ID = PREFIX + "client-id"


def line(kind: str, **document: Any) -> bytes:
    """Return a line of a watch."""
    return json.dumps({"type": kind, "object": document}).encode()


@pytest.mark.parametrize(
    "text, expected",
    [
        pytest.param(line("ADDED", metadata={"name": "a"}), Changed(Metadata("a")), id="added"),
        pytest.param(
            line("MODIFIED", metadata={"name": "a", "namespace": "n", "resourceVersion": "7"}, secrets=[], more={}),
            Changed(Metadata("a", "n", "7")),
            id="modified, with other fields",
        ),
        pytest.param(line("DELETED", metadata={"name": "a"}), Deleted(Metadata("a")), id="deleted"),
        pytest.param(line("BOOKMARK", metadata={"resourceVersion": "9"}), Bookmark("9"), id="bookmark"),
        pytest.param(line("ERROR", code=410, message="too old"), Expired(), id="expired"),
        pytest.param(line("ERROR", code=500, message="etcd"), Failed("etcd"), id="another error"),
        pytest.param(line("ERROR"), Failed("an error without a message"), id="an error without a message"),
        pytest.param(line("NEW", metadata={"name": "a"}), Failed("not an event: type 'NEW'"), id="an unknown type"),
    ],
)
def test_watch_line_is_one_of_five_events(text: bytes, expected: Event) -> None:
    """The type of the line decides."""
    assert parse_event(text) == expected


@given(st.binary() | st.text().map(str.encode))
def test_garbage_is_reported_as_a_failure(text: bytes) -> None:
    """No line, list, object or status of an API server raises an exception."""
    assert isinstance(parse_event(text), Failed)
    assert isinstance(parse_page(text), Failed)
    assert isinstance(parse_object(text), Failed)
    assert parse_status(502, text).message == "HTTP 502"


def test_messages_of_an_api_server_are_cut() -> None:
    """They may contain text of other webhooks and API servers, and appear in logs and answers."""
    long = "m" * 100_000
    assert parse_status(400, json.dumps({"message": long, "reason": long, "code": 400}).encode()) == Status(
        long[:1024], long[:1024], 400
    )
    assert parse_event(line("ERROR", code=500, message=long)) == Failed(long[:1024])
    assert parse_event(line("ERROR", code=500, reason=long)) == Failed(long[:1024])
    assert parse_event(line(long, metadata={"name": "a"})) == Failed(f"not an event: type {long[:64]!r}")


def test_list_without_items_is_parsed() -> None:
    """Go encodes an empty list as null."""
    found = parse_page(b'{"metadata": {"resourceVersion": "1"}, "items": null}')
    assert isinstance(found, ListPage)
    assert found.items is None


def test_reduced_metadata_has_only_labels_and_annotations_with_the_prefix() -> None:
    """Other labels and annotations take no memory."""
    found = Metadata("a", "n", "1", {ID: "x", "kubectl": "long"}, {"app": "web"}).reduced(PREFIX)
    assert found == Metadata("a", "n", annotations={ID: "x"})
