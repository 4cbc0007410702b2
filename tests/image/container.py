"""Runs containers of the image with crun, as kubelet does, with only the privileges in `Pod`."""

import contextlib
import json
import subprocess
import tarfile
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from image.archive import Config
from tests.support.waiting import wait_until

_PATIENCE = 120  # seconds; it only guards against hanging
# crun refuses a machine with control groups of both versions: in here, and only in here, it sees one.
_IN_ONE_HIERARCHY = 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"'
_DEVICES = {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]}
_PROCESSES = {"destination": "/proc", "type": "proc", "source": "proc"}


@dataclass(frozen=True)
class Image:
    """The image, unpacked at `root`."""

    archive: Path
    root: Path
    config: Config


@dataclass(frozen=True, kw_only=True)
class Pod:
    """Settings of a container: read-only root, no new privileges, only the listed capabilities."""

    user: int = 1501
    capabilities: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[Path, str] = field(default_factory=dict)
    """Files of this machine, and their read-only paths in the container."""
    network: str | None = None
    """Path of the network namespace; None for that of this process."""


def unpack(archive: Path, root: Path) -> None:
    """Unpack the image's one layer, with owners and modes."""
    with tarfile.open(archive) as opened:
        index = json.load(_open(opened, "index.json"))
        manifest = json.load(_open(opened, _blob(index["manifests"][0]["digest"])))
        (layer,) = manifest["layers"]
        with tarfile.open(fileobj=_open(opened, _blob(layer["digest"]))) as files:
            files.extractall(root, filter="fully_trusted")  # noqa: S202 -- built here, and owners matter


def _open(opened: tarfile.TarFile, name: str) -> "tarfile.ExFileObject":
    content = opened.extractfile(name)
    assert content is not None
    return content  # type: ignore[return-value]  # typeshed says IO[bytes]


def _blob(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def run(image: Image, pod: Pod, arguments: Sequence[str], text: str = "") -> subprocess.CompletedProcess[str]:
    """Run the entry point of the image with the arguments."""
    with _bundle(image, pod, [*image.config.entrypoint, *arguments]) as command:
        return subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=_PATIENCE)


def run_program(image: Image, pod: Pod, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a program of the image instead of its entry point, like a pod's `command`."""
    with _bundle(image, pod, command) as whole:
        return subprocess.run(
            whole, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=_PATIENCE
        )


@contextlib.contextmanager
def running(image: Image, pod: Pod, command: Sequence[str], log: Path) -> Iterator[int]:
    """Run a program until the block ends; yield its process id. It must exit with status 0 on SIGTERM."""
    with (
        _bundle(image, pod, command) as whole,
        log.open("wb") as output,
        subprocess.Popen(whole, stdin=subprocess.DEVNULL, stdout=output, stderr=output) as process,
    ):
        try:
            yield _first_process(Path(whole[-2]), process)
            process.terminate()
            assert process.wait(_PATIENCE) == 0, log.read_text()
        finally:
            process.kill()


def _first_process(folder: Path, crun: subprocess.Popen[bytes]) -> int:
    """Wait for process 1 of the container, and return its process id."""
    file = folder / "pid"
    wait_until(lambda: crun.poll() is not None or (file.exists() and file.read_text()))
    assert crun.poll() is None, "the container did not start"
    return int(file.read_text())


@contextlib.contextmanager
def _bundle(image: Image, pod: Pod, command: Sequence[str]) -> Iterator[list[str]]:
    with tempfile.TemporaryDirectory(prefix="wisp-container-") as folder:
        Path(folder, "config.json").write_text(json.dumps(_specification(image, pod, command)))
        crun = ["crun", "--cgroup-manager=disabled", "--root", f"{folder}/state", "run", "--pid-file", f"{folder}/pid"]
        unshared = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _IN_ONE_HIERARCHY, "sh"]
        yield [*unshared, *crun, "--bundle", folder, f"wisp-{uuid.uuid4().hex[:12]}"]


def _specification(image: Image, pod: Pod, command: Sequence[str]) -> Mapping[str, object]:
    """Return the configuration of the OCI runtime specification."""
    environment = dict(variable.split("=", 1) for variable in image.config.environment) | dict(pod.environment)
    sets = ("bounding", "effective", "permitted")  # as containerd and CRI-O give them: none inherited, none ambient
    mounts = [
        {"destination": inside, "type": "bind", "source": str(outside), "options": ["bind", "ro"]}
        for outside, inside in pod.files.items()
    ]
    network = [{"type": "network", "path": pod.network}] if pod.network else []
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": pod.user, "gid": pod.user},
            "args": list(command),
            "env": [f"{name}={value}" for name, value in environment.items()],
            "cwd": "/",
            "capabilities": {name: list(pod.capabilities) for name in sets},
            "noNewPrivileges": True,
        },
        "root": {"path": str(image.root), "readonly": True},
        "mounts": [_PROCESSES, _DEVICES, *mounts],
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")] + network},
    }
