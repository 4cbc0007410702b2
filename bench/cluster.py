"""Measures how long pods take to start, with the sidecar and without: `make bench-cluster`.

Needs what the tests in a real cluster need (docs/decisions/0014-cluster.md). What happens when is told by a watch, so
that it is told to the millisecond; a pod's own time stamps are whole seconds.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import urllib3

from bench.report import machine, table, write
from tests.cluster.site import Site, site, ubuntu_image, wisp_image

IMAGE = "ubuntu:20.04"
KINDS = ("without", "identity", "env", "sidecar")
"""Without anything of ours; with the variables and the token; with the sidecar but no redirect; with both."""
ANNOTATION = "azure.workload.identity/inject-proxy"
_PODS = "/api/v1/namespaces/default/pods"
_MOMENTS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "scheduled": lambda pod: _has(pod, "PodScheduled"),
    "redirect ended": lambda pod: "terminated" in _container(pod, "azwi-proxy-init").get("state", {}),
    "sidecar started": lambda pod: bool(_container(pod, "azwi-proxy").get("started")),
    "application runs": lambda pod: "running" in _container(pod, "main").get("state", {}),
    "Ready": lambda pod: _has(pod, "Ready"),
}
"""What is awaited of a pod, in order, each after the API server has admitted it."""
Times = dict[str, float]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and with --write put it into docs/performance.md."""
    parser = argparse.ArgumentParser(prog="python -m bench.cluster", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="pods of each kind")
    parser.add_argument("--write", action="store_true", help="update docs/performance.md")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="wisp-bench-") as folder, site(Path(folder)) as running:
        for each in (wisp_image(Path(folder)), ubuntu_image()):
            running.node.load(each)
        running.install()
        section = render(measure(running, options.rounds), options.rounds)
    print(section)
    if options.write:
        write(section, "bench.cluster")


def measure(running: Site, rounds: int) -> dict[str, list[Times]]:
    """Start pods of all kinds in turn, so that what else the machine does weighs on all."""
    identity = running.identity("bench", ("default", "default"))
    annotation = f"azure.workload.identity/client-id={identity.client_id}"
    running.kubectl("annotate", "--overwrite", "serviceaccount", "default", annotation)
    found: dict[str, list[Times]] = {kind: [] for kind in KINDS}
    for number in range(rounds + 1):
        for kind in KINDS:
            time.sleep(random.random())  # noqa: S311 -- kubelet looks at containers once a second: begin anywhere in it
            times = _start(running, f"{kind}-{number}", kind)
            if number:  # the first of each kind has images to unpack
                found[kind].append(times)
    return found


def _start(running: Site, name: str, kind: str) -> Times:
    pki = running.node.layout.pki
    with urllib3.PoolManager(
        ca_certs=str(pki / "ca.crt"), cert_file=str(pki / "admin.crt"), key_file=str(pki / "admin.key"), timeout=60
    ) as pool:
        url = running.node.network.api_server + _PODS
        watch = pool.request(
            "GET", f"{url}?watch=1&resourceVersion=0&fieldSelector=metadata.name%3D{name}", preload_content=False
        )
        begun = time.perf_counter()
        made = pool.request("POST", url, json=_pod(name, kind))
        if made.status != 201:
            raise SystemExit(f"bench: the pod {name} is refused: {made.data.decode()}")
        times = {"admitted": time.perf_counter() - begun}
        for pod in _seen(watch):
            now = time.perf_counter() - begun
            times.update({what: now for what, holds in _MOMENTS.items() if what not in times and holds(pod)})
            if "Ready" in times:
                break
        watch.close()
        pool.request("DELETE", f"{url}/{name}?gracePeriodSeconds=0")
    return times


def _seen(watch: urllib3.BaseHTTPResponse) -> Iterator[dict[str, Any]]:
    """Yield the pod as it is each time it has changed."""
    buffered = b""
    for chunk in watch.stream(1 << 16):
        *lines, buffered = (buffered + chunk).split(b"\n")
        yield from (json.loads(line)["object"] for line in lines if line)


def _pod(name: str, kind: str) -> dict[str, Any]:
    annotations = {"identity": {}, "env": {f"{ANNOTATION}-sidecar": "true", f"{ANNOTATION}-mode": "env"}}
    annotations["sidecar"] = {f"{ANNOTATION}-sidecar": "true"}
    labels = {} if kind == "without" else {"azure.workload.identity/use": "true"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels, "annotations": annotations.get(kind, {})},
        "spec": {"containers": [{"name": "main", "image": IMAGE, "command": ["sleep", "infinity"]}]},
    }


def _has(pod: dict[str, Any], condition: str) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return any(each["type"] == condition and each["status"] == "True" for each in conditions)


def _container(pod: dict[str, Any], name: str) -> dict[str, Any]:
    status = pod.get("status", {})
    all_of_them = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
    return next((dict(each) for each in all_of_them if each["name"] == name), {})


def render(found: dict[str, list[Times]], rounds: int) -> str:
    """Return the section, in Markdown."""
    moments = ["admitted", *_MOMENTS]
    rows = [[moment, *(_median(found[kind], moment) for kind in KINDS)] for moment in moments]
    rows.append(["added to Ready", "", *(f"+{_added(found, kind):.2f}" for kind in KINDS[1:])])
    head = ["seconds after the pod was asked for", "without", "with its identity", "sidecar, env mode", "sidecar"]
    method = (
        f"{rounds} pods of each kind in turn, one at a time, on one node that has the images; medians of when a watch "
        "first said so, and of the differences within a round."
    )
    return "\n\n".join([machine(), method, table(head, rows)])


def _median(times: list[Times], moment: str) -> str:
    seen = [each[moment] for each in times if moment in each]
    return f"{statistics.median(seen):.2f}" if seen else ""


def _added(found: dict[str, list[Times]], kind: str) -> float:
    pairs = zip(found[kind], found["without"], strict=True)
    return statistics.median(ours["Ready"] - bare["Ready"] for ours, bare in pairs)


if __name__ == "__main__":
    main()
