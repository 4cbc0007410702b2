"""The node's processes, pods' included, as this machine sees them: to kill one, as a fault would."""

from pathlib import Path

from wisp_local.lab.node.node import Node


def ids(node: Node, *words: str) -> list[int]:
    """Return the ids of the node's processes whose command line has all of `words` as arguments or their programs."""
    return [number for number, command in _of(node) if set(words) <= {*command, Path(command[0]).name}]


def _of(node: Node) -> list[tuple[int, list[str]]]:
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            command = (each / "cmdline").read_text().split("\0")
            groups = (each / "cgroup").read_text()
        except (OSError, UnicodeDecodeError):
            continue
        if f"/wisp-node{node.number}/" in groups or str(node.folder) in " ".join(command):
            found.append((int(each.name), command))
    return found
