"""The processes of the node and its pods on this machine, so that a test can kill one."""

from pathlib import Path

from wisp_local.lab.node.node import Node


def process_ids(node: Node, *words: str) -> list[int]:
    """Return the ids of the node's processes whose command line has all of `words` as arguments or their programs."""
    return [number for number, command in _node_processes(node) if set(words) <= {*command, Path(command[0]).name}]


def _node_processes(node: Node) -> list[tuple[int, list[str]]]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_text().split("\0")
            groups = (folder / "cgroup").read_text()
        except (OSError, UnicodeDecodeError):
            continue
        if f"/wisp-node{node.number}/" in groups or str(node.folder) in " ".join(command):
            found.append((int(folder.name), command))
    return found
