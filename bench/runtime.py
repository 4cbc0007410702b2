"""How long containers take, by containerd's own events: kubelet looks at containers only once a second."""

import json
import statistics
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from tests.cluster.cluster import Cluster


class Event(NamedTuple):
    """What happened to the container of that id, or to the program `exec_id` in it; `at` in seconds."""

    at: float
    topic: str
    container: str
    exec_id: str


@contextmanager
def recorded(running: Cluster, file: Path) -> Iterator[None]:
    """Write containerd's events to `file` until the block ends."""
    command = ["ctr", "-a", str(running.node.layout.containerd_socket), "-n", "k8s.io", "events"]
    with file.open("wb") as output, subprocess.Popen(command, stdout=output) as process:
        try:
            yield
        finally:
            process.terminate()


def events(file: Path) -> list[Event]:
    """Read what was recorded: date, time, zone twice, namespace, topic and a JSON object a line."""
    lines = (line.split(" ", 6) for line in file.read_text(encoding="utf-8").splitlines())
    return [_event(fields) for fields in lines if len(fields) == 7 and fields[5].startswith("/tasks/")]


def _event(fields: list[str]) -> Event:
    date, clock, *_, topic, document = fields
    whole, _, fraction = clock.partition(".")
    at = datetime.fromisoformat(f"{date}T{whole}").timestamp() + float(f"0.{fraction or 0}")
    output: Mapping[str, Any] = json.loads(document)
    container = output.get("container_id", "")
    program = output.get("exec_id") or output.get("id", "")
    return Event(at, topic, container, "" if program == container else program)


def run_time(found: Iterable[Event], containers: Iterable[str]) -> float | None:
    """Return the median of the seconds from the start of these containers to their end; None: none ended."""
    return _median(found, containers, is_program=False)


def hook_time(found: Iterable[Event], containers: Iterable[str]) -> float | None:
    """Return the median of the seconds from the start of these containers to the end of their postStart hook."""
    return _median(found, containers, is_program=True)


def _median(found: Iterable[Event], containers: Iterable[str], *, is_program: bool) -> float | None:
    wanted = set(containers)
    ours = [event for event in found if event.container in wanted]
    started = {event.container: event.at for event in ours if event.topic == "/tasks/start"}
    ended: dict[str, float] = {}
    for event in ours:
        if event.topic == "/tasks/exit" and bool(event.exec_id) is is_program:
            ended.setdefault(event.container, event.at)
    took = [at - started[container] for container, at in ended.items() if container in started]
    return statistics.median(took) if took else None
