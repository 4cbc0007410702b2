"""Labelled pods made one after another for as long as a block lasts, and what the API server said to each.

They are gated, so none is ever scheduled, and each is deleted again by whoever made it.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.cluster.api import Answer, api
from tests.cluster.identity import faults
from tests.cluster.site import Site, eventually

NAMESPACE, ACCOUNT = "stream", "stream"
CLIENT_ID = "5f0d1c9e-0000-4000-8000-00000000000a"
_MAKERS = 3
_PAUSE = 0.02  # seconds between two pods of a maker


class Said(NamedTuple):
    """The answer to what was asked at `time.monotonic()` seconds."""

    at: float
    answer: Answer


@dataclass
class Stream:
    """What was said so far."""

    said: list[Said] = field(default_factory=list)

    def admitted(self) -> list[Said]:
        """Return the answers that are pods."""
        return [each for each in self.said if each.answer.status == 201]

    def refusals(self) -> set[tuple[int, str]]:
        """Return the other answers, as status and message, once each."""
        return {(each.answer.status, each.answer.message) for each in self.said if each.answer.status != 201}

    def wrong(self) -> list[str]:
        """Return what is wrong with the pods that were admitted: they are to have their identity."""
        return [fault for each in self.admitted() for fault in faults(each.answer.document, CLIENT_ID)]

    def until_admitted(self) -> None:
        """Wait until a pod is admitted that was asked for now."""
        now = time.monotonic()
        eventually(lambda: any(each.at > now for each in self.admitted()), "a pod to be admitted")

    def until_refused(self) -> None:
        """Wait until a pod is refused that was asked for now."""
        now = time.monotonic()
        eventually(lambda: any(each.at > now and each.answer.status != 201 for each in self.said), "a refusal")


@contextmanager
def stream(site: Site) -> Iterator[Stream]:
    """Make pods until the block ends; it begins when one has been admitted, and one is at its end."""
    site.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}, account(ACCOUNT, CLIENT_ID))
    made, over = Stream(), threading.Event()
    makers = [threading.Thread(target=_make, args=(site, made, over, number)) for number in range(_MAKERS)]
    for each in makers:
        each.start()
    try:
        made.until_admitted()
        yield made
        made.until_admitted()
    finally:
        over.set()
        for each in makers:
            each.join()


def account(name: str, client_id: str | None) -> dict[str, Any]:
    """Write a service account of the stream's namespace."""
    annotations = {} if client_id is None else {"azure.workload.identity/client-id": client_id}
    metadata = {"name": name, "namespace": NAMESPACE, "annotations": annotations}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}


def gated(name: str, account: str = ACCOUNT) -> dict[str, Any]:
    """Write a labelled pod that is made and never scheduled."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "labels": {"azure.workload.identity/use": "true"},
            "annotations": {"azure.workload.identity/inject-proxy-sidecar": "true"},
        },
        "spec": {
            "serviceAccountName": account,
            "schedulingGates": [{"name": "wisp.test/never"}],
            "initContainers": [{"name": "first", "image": "wisp.test/pause:1"}],
            "containers": [{"name": "main", "image": "wisp.test/pause:1"}],
        },
    }


def _make(site: Site, made: Stream, over: threading.Event, maker: int) -> None:
    pods = f"/api/v1/namespaces/{NAMESPACE}/pods"
    begun = time.monotonic_ns()  # what an earlier stream could not delete is not in the way
    with api(site) as server:
        number = 0
        while not over.wait(_PAUSE):
            number += 1
            name, now = f"stream-{begun}-{maker}-{number}", time.monotonic()
            answer = server.ask("POST", pods, gated(name))
            made.said.append(Said(now, answer))
            if answer.status == 201:
                server.ask("DELETE", f"{pods}/{name}?gracePeriodSeconds=0")
