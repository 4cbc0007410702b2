"""Where a node keeps its files: one folder, whose every part has its place here; reads and writes nothing."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """The folder of a node."""

    folder: Path

    @property
    def pki(self) -> Path:
        """Keys and certificates; theirs are the names of `wisp_local.lab.node.pki`."""
        return self.folder / "pki"

    @property
    def logs(self) -> Path:
        """What the programs say, a file each."""
        return self.folder / "log"

    @property
    def containerd(self) -> Path:
        """The container runtime's socket."""
        return self.folder / "containerd.sock"

    @property
    def corefile(self) -> Path:
        """The configuration of CoreDNS."""
        return self.folder / "Corefile"

    @property
    def resolver(self) -> Path:
        """The resolv.conf of the node, for pods that ask for that of their node."""
        return self.folder / "resolv.conf"

    @property
    def objects(self) -> Path:
        """The objects that are created before anything else."""
        return self.folder / "objects.json"

    @property
    def process(self) -> Path:
        """The process that all others end with."""
        return self.folder / "process.json"

    @property
    def wanted(self) -> Path:
        """What the node's inside is told to run."""
        return self.folder / "programs.json"

    def kubeconfig(self, name: str) -> Path:
        """Return where the credentials of a component are, or those of `admin`."""
        return self.folder / f"{name}.conf"
