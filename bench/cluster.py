"""Measures how long pods take to start, with the sidecar and without: `make bench-cluster`.

Needs what the tests in a real cluster need (docs/decisions/0014-cluster.md). A watch reports the time of each event in
milliseconds, because a pod's own time stamps are whole seconds.

Two environment variables add pods to compare with, in the same run:

  BEFORE_IMAGE     an archive of another wisp image, as `make image` writes to dist/wisp-image.tar: the same pods
                        with that image
  REFERENCE_PROXY  the program `proxy` of azure-workload-identity, built for this machine without cgo: pods as its
                        webhook makes them, with that program as the sidecar
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import urllib3

from bench.report import machine, table, write
from bench.runtime import Event, events, hook_time, recorded, run_time
from image.archive import set_name
from tests.cluster.cluster import Cluster, running_cluster, ubuntu_image, wisp_image
from tests.cluster.identity import REDIRECT, SIDECAR
from tests.cluster.reference import PROXY_IMAGE, REDIRECT_RECIPE, Reference
from wisp_local.lab.node.images import Image, debian_image, write_image, write_layer
from wisp_local.lab.node.node import ARCHITECTURE
from wisp_local.sandbox.folders import cache_folder

IMAGE = "ubuntu:20.04"
ANNOTATION = "azure.workload.identity/inject-proxy"
LABELS = {"azure.workload.identity/use": "true"}
WITHOUT, IDENTITY, ENV, BEFORE, SIDECAR_KIND, REFERENCE = (
    "without",
    "with its identity",
    "sidecar, env mode",
    "sidecar, before",
    "sidecar",
    "azure-workload-identity",
)
_BEFORE_IMAGE = "docker.io/library/wisp:before"
_PODS = "/api/v1/namespaces/default/pods"
_MOMENTS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "scheduled": lambda pod: _has(pod, "PodScheduled"),
    "redirect ended": lambda pod: "terminated" in _container(pod, REDIRECT).get("state", {}),
    "sidecar started": lambda pod: bool(_container(pod, SIDECAR).get("started")),
    "application runs": lambda pod: "running" in _container(pod, "main").get("state", {}),
    "Ready": lambda pod: _has(pod, "Ready"),
}
"""What is awaited of a pod, in order, each after the API server has admitted it."""
_TOOK = (
    ("the redirect's container, start to end", run_time, REDIRECT),
    ("the sidecar's, start to the end of its postStart hook", hook_time, SIDECAR),
)
"""What containers took, besides."""
Times = dict[str, float]


class Start(NamedTuple):
    """How one pod started: when what was seen, and the ids of its containers by their names."""

    times: Times
    containers: dict[str, str]


Manifest = dict[str, Any]
_Maker = Callable[[str], Manifest]
"""Makes the manifest of the pod of that name."""


@dataclass(frozen=True)
class Others:
    """What the environment names to compare with."""

    before: Path | None
    reference: Path | None

    @classmethod
    def named(cls) -> "Others":
        """Read the environment. Raises SystemExit where a file is not there."""
        return cls(_file("BEFORE_IMAGE"), _file("REFERENCE_PROXY"))


def _file(variable: str) -> Path | None:
    path = Path(os.environ.get(variable, ""))
    if not os.environ.get(variable):
        return None
    if not path.is_file():
        raise SystemExit(f"bench: {variable} names no file: {path}")
    return path


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and with --write put it into docs/explanation/performance.md."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.cluster", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15, help="pods of each kind")
    parser.add_argument("--kind", action="append", help="measure only this kind and `without`; can be repeated")
    parser.add_argument("--write", action="store_true", help="update docs/explanation/performance.md")
    options = parser.parse_args(arguments)
    others = Others.named()
    with tempfile.TemporaryDirectory(prefix="wisp-bench-") as folder, running_cluster(Path(folder)) as running:
        for each in (wisp_image(Path(folder)), ubuntu_image(), *_images(others, Path(folder))):
            running.node.load(each)
        running.install()
        log = Path(folder) / "events"
        with recorded(running, log):
            found = measure(running, _chosen(_kinds(running, others), options.kind), options.rounds)
        section = render(found, options.rounds, events(log))
    print(section)
    if options.write:
        write(section, "bench.cluster")


def _images(others: Others, folder: Path) -> Iterator[Path]:
    """Yield archives of the images to compare with."""
    if others.before:
        archive = folder / "before.tar"
        shutil.copyfile(others.before, archive)
        set_name(archive, _BEFORE_IMAGE)
        yield archive
    if others.reference:
        layer, archive = folder / "proxy-layer.tar", folder / "proxy.tar"
        with contextlib.ExitStack() as stack:
            program = others.reference
            if program.name != "proxy":
                named = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "proxy"
                program = Path(shutil.copyfile(program, named))
            write_layer(layer, [program])
        write_image(archive, Image(PROXY_IMAGE, layer, ("/proxy",)), ARCHITECTURE)
        yield archive
        yield debian_image(cache_folder(), ARCHITECTURE, REDIRECT_RECIPE)


def _kinds(running: Cluster, others: Others) -> dict[str, _Maker]:
    """Return how the pods of each kind are made. The first is that which the others are compared with."""
    identity = running.identity("bench", ("default", "default"))
    annotation = f"azure.workload.identity/client-id={identity.client_id}"
    running.kubectl("annotate", "--overwrite", "serviceaccount", "default", annotation)
    sidecar = {f"{ANNOTATION}-sidecar": "true"}

    def before(name: str) -> Manifest:
        """Have the webhook mutate the pod without making it, and change the images of what it added."""
        asked = running.kubectl(
            "create", "--dry-run=server", "-o", "json", "-f", "-", given=json.dumps(_pod(name, LABELS, sidecar))
        )
        spec = json.loads(asked)["spec"]
        for each in spec["initContainers"]:
            each["image"] = _BEFORE_IMAGE
        return {**_pod(name), "spec": spec}

    def reference(name: str) -> Manifest:
        webhook = Reference(running.tenant_id, identity.client_id, f"{running.cloud.url}/")
        made = webhook.mutated(_pod(name))
        for each in made["spec"]["initContainers"]:
            if each["name"] == SIDECAR:  # what the image says of itself, which this one does not
                each["command"] = ["/proxy"]
                each["securityContext"] = {**each["securityContext"], "runAsUser": 1501}
        return made

    kinds: dict[str, _Maker] = {
        WITHOUT: _pod,
        IDENTITY: lambda name: _pod(name, LABELS),
        ENV: lambda name: _pod(name, LABELS, {**sidecar, f"{ANNOTATION}-mode": "env"}),
        SIDECAR_KIND: lambda name: _pod(name, LABELS, sidecar),
    }
    if others.before:
        kinds[BEFORE] = before
    if others.reference:
        kinds[REFERENCE] = reference
    return kinds


def _chosen(kinds: dict[str, _Maker], names: Sequence[str] | None) -> dict[str, _Maker]:
    """Return the kinds of these names and the first one, or all. Raises SystemExit for a name that is of none."""
    unknown = set(names or ()) - set(kinds)
    if unknown:
        raise SystemExit(f"bench: --kind is one of {', '.join(map(repr, kinds))}, not {unknown.pop()!r}")
    return {kind: make for kind, make in kinds.items() if not names or kind in {WITHOUT, *names}}


def measure(running: Cluster, kinds: Mapping[str, _Maker], rounds: int) -> dict[str, list[Start]]:
    """Start pods of all kinds in turn, so that what else the machine does weighs on all."""
    found: dict[str, list[Start]] = {kind: [] for kind in kinds}
    for number in range(rounds + 1):
        for index, (kind, make) in enumerate(random.sample(list(kinds.items()), len(kinds))):
            manifest = make(f"bench-{number}-{index}")
            time.sleep(random.random())  # noqa: S311 -- kubelet looks at containers once a second: begin anywhere in it
            start = _start(running, manifest)
            if number:  # the first of each kind has images to unpack
                found[kind].append(start)
    return found


def _start(running: Cluster, manifest: Manifest) -> Start:
    pki, name = running.node.layout.pki, manifest["metadata"]["name"]
    with urllib3.PoolManager(
        ca_certs=str(pki / "ca.crt"), cert_file=str(pki / "admin.crt"), key_file=str(pki / "admin.key"), timeout=60
    ) as pool:
        url = running.node.network.api_server + _PODS
        watch = pool.request(
            "GET", f"{url}?watch=1&resourceVersion=0&fieldSelector=metadata.name%3D{name}", preload_content=False
        )
        begun = time.perf_counter()
        made = pool.request("POST", url, json=manifest)
        if made.status != 201:
            raise SystemExit(f"bench: the pod {name} is refused: {made.data.decode()}")
        times = {"admitted": time.perf_counter() - begun}
        containers: dict[str, str] = {}
        for pod in _seen(watch):
            now = time.perf_counter() - begun
            times.update({what: now for what, holds in _MOMENTS.items() if what not in times and holds(pod)})
            containers |= {each["name"]: each["containerID"] for each in _statuses(pod) if each.get("containerID")}
            if "Ready" in times:
                break
        watch.close()
        pool.request("DELETE", f"{url}/{name}?gracePeriodSeconds=0")
    return Start(times, {name: each.rpartition("//")[2] for name, each in containers.items()})


def _seen(watch: urllib3.BaseHTTPResponse) -> Iterator[dict[str, Any]]:
    """Yield the pod as it is each time it has changed."""
    buffered = b""
    for chunk in watch.stream(1 << 16):
        *lines, buffered = (buffered + chunk).split(b"\n")
        yield from (json.loads(line)["object"] for line in lines if line)


def _pod(name: str, labels: Mapping[str, str] = {}, annotations: Mapping[str, str] = {}) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": dict(labels), "annotations": dict(annotations)},
        "spec": {"containers": [{"name": "main", "image": IMAGE, "command": ["sleep", "infinity"]}]},
    }


def _has(pod: dict[str, Any], condition: str) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return any(each["type"] == condition and each["status"] == "True" for each in conditions)


def _container(pod: dict[str, Any], name: str) -> dict[str, Any]:
    return next((each for each in _statuses(pod) if each["name"] == name), {})


def _statuses(pod: dict[str, Any]) -> list[dict[str, Any]]:
    status = pod.get("status", {})
    return [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]


def render(found: dict[str, list[Start]], rounds: int, events: Sequence[Event]) -> str:
    """Return the section, in Markdown."""
    moments = ["admitted", *_MOMENTS]
    bare, *added = found
    rows = [[moment, *(_median(found[kind], moment) for kind in found)] for moment in moments]
    means = (statistics.mean(_differences(found[kind], found[bare])) for kind in added)
    rows.append(["added to Ready, mean", "", *(f"{mean:+.2f}" for mean in means)])
    rows.append(["added to Ready, median", "", *(f"{_quartiles(found[kind], found[bare])[1]:+.2f}" for kind in added)])
    quartiles = [_quartiles(found[kind], found[bare]) for kind in added]
    rows.append(["added to Ready, quartiles", "", *(f"{low:+.2f} to {high:+.2f}" for low, _, high in quartiles)])
    for what, took, name in _TOOK:
        seconds = [took(events, (each.containers.get(name, "") for each in found[kind])) for kind in found]
        rows.append([what, *("" if each is None else f"{each:.2f}" for each in seconds)])
    head = ["seconds after the pod was asked for", *found]
    method = (
        f"{rounds} pods of each kind in turn, one at a time, on one node that has the images; medians of when a watch "
        "first said so, of the differences within a round, and of what containers took by containerd's events."
    )
    return "\n\n".join([machine(), method, table(head, rows)])


def _median(starts: list[Start], moment: str) -> str:
    seen = [each.times[moment] for each in starts if moment in each.times]
    return f"{statistics.median(seen):.2f}" if seen else ""


def _quartiles(starts: list[Start], bare: list[Start]) -> tuple[float, float, float]:
    """Return the quartiles of what pods of a kind took longer than the bare ones of the same round."""
    added = _differences(starts, bare)
    if len(added) == 1:
        return added[0], added[0], added[0]
    low, middle, high = statistics.quantiles(added, n=4, method="inclusive")
    return low, middle, high


def _differences(starts: list[Start], bare: list[Start]) -> list[float]:
    return [ours.times["Ready"] - theirs.times["Ready"] for ours, theirs in zip(starts, bare, strict=True)]


if __name__ == "__main__":
    main()
