"""Labelled pods that are created one after another while a block runs, with the answers of the API server.

They have a scheduling gate, so none is ever scheduled. The thread that created a pod deletes it.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.cluster.api import Answer, api
from tests.cluster.cluster import Cluster, eventually
from tests.cluster.identity import faults

NAMESPACE, ACCOUNT = "stream", "stream"
CLIENT_ID = "5f0d1c9e-0000-4000-8000-00000000000a"
_MAKERS = 3
_PAUSE = 0.02  # seconds between two pods of a maker


class TimedAnswer(NamedTuple):
    """The answer to a request that was sent at `time.monotonic()` seconds."""

    at: float
    answer: Answer


@dataclass
class Stream:
    """The answers so far."""

    answers: list[TimedAnswer] = field(default_factory=list)

    def admitted(self) -> list[TimedAnswer]:
        """Return the answers with a pod."""
        return [timed for timed in self.answers if timed.answer.status == 201]

    def rejections(self) -> set[tuple[int, str]]:
        """Return status and message of the other answers, without repetitions."""
        return {(timed.answer.status, timed.answer.message) for timed in self.answers if timed.answer.status != 201}

    def faults(self) -> list[str]:
        """Return what is missing, repeated or wrong in the admitted pods."""
        return [fault for timed in self.admitted() for fault in faults(timed.answer.document, CLIENT_ID)]

    def wait_until_admitted(self) -> None:
        """Wait until a pod is admitted that is created from now on."""
        now = time.monotonic()
        eventually(lambda: any(timed.at > now for timed in self.admitted()), "a pod to be admitted")

    def wait_until_rejected(self) -> None:
        """Wait until a pod is rejected that is created from now on."""
        now = time.monotonic()
        eventually(lambda: any(timed.at > now and timed.answer.status != 201 for timed in self.answers), "a rejection")


@contextmanager
def stream(cluster: Cluster) -> Iterator[Stream]:
    """Create pods until the block ends. A pod is admitted before the block begins, and another after its end."""
    cluster.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}, account(ACCOUNT, CLIENT_ID)
    )
    created, over = Stream(), threading.Event()
    makers = [threading.Thread(target=_make, args=(cluster, created, over, number)) for number in range(_MAKERS)]
    for maker in makers:
        maker.start()
    try:
        created.wait_until_admitted()
        yield created
        created.wait_until_admitted()
    finally:
        over.set()
        for maker in makers:
            maker.join()


def account(name: str, client_id: str | None) -> dict[str, Any]:
    """Return a service account of the stream's namespace."""
    annotations = {} if client_id is None else {"azure.workload.identity/client-id": client_id}
    metadata = {"name": name, "namespace": NAMESPACE, "annotations": annotations}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}


def gated_pod(name: str, account: str = ACCOUNT) -> dict[str, Any]:
    """Return a labelled pod that is never scheduled."""
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


def _make(cluster: Cluster, created: Stream, over: threading.Event, maker: int) -> None:
    pods = f"/api/v1/namespaces/{NAMESPACE}/pods"
    begun = time.monotonic_ns()  # names of pods that an earlier stream could not delete are not reused
    with api(cluster) as server:
        number = 0
        while not over.wait(_PAUSE):
            number += 1
            name, now = f"stream-{begun}-{maker}-{number}", time.monotonic()
            answer = server.ask("POST", pods, gated_pod(name))
            created.answers.append(TimedAnswer(now, answer))
            if answer.status == 201:
                server.ask("DELETE", f"{pods}/{name}?gracePeriodSeconds=0")
