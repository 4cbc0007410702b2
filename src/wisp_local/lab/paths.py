"""The folder of a lab, which only its owner may enter: paths, locking and the record."""

import contextlib
import fcntl
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from wisp.base.errors import SettingError
from wisp.base.files import write_atomically
from wisp_local.lab.record import Record, decode_record, encode_record
from wisp_local.sandbox.folders import state_folder


class LabPaths:
    """The paths of the lab in `folder`, an absolute path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "cloud.db"  # the local cloud's resources and all keys
        self.authority = folder / "cloud.db.ca.pem"  # the certificate of the cloud's CA, which the cloud writes
        self.trusted = folder / "trusted.pem"  # the CAs that `az` trusts: the cloud's and the system's
        self.secret = folder / "login.secret"  # the client secret of `az`
        self.metadata = folder / "clouds.json"  # the cloud's endpoints, for `az`
        self.azure = folder / "azure"  # the configuration folder of `az`
        self.kubeconfig = folder / "kubeconfig"  # `az aks get-credentials` writes it, `kubectl` reads it
        self.kube_cache = folder / "kubecache"  # the cache of `kubectl`
        self.programs = folder / "bin"  # first on PATH
        self.node = folder / "node"  # the lab's own cluster
        self.node_number = folder / "node.number"
        self.admin_kubeconfig = self.node / "admin.conf"  # of the lab's own cluster
        self.log = folder / "logs" / "cloud.log"
        self.manifest = folder / "wisp.yaml"  # of the webhook, for this lab
        self.record = folder / "lab.json"
        self.lock = folder / "lock"


def default_folder(environ: Mapping[str, str], home: Path | None) -> Path:
    """Return the folder of a user's lab. Raise SettingError for a user without a home folder."""
    folder = state_folder(environ, home)
    if folder is None:
        raise SettingError("this user has no home folder for a lab", hint="name a folder: --lab FOLDER")
    return folder / "lab"


def create(paths: LabPaths) -> None:
    """Create the lab's folders. Raise SettingError for a folder with other content."""
    with _reported(paths):
        if paths.folder.is_dir() and not is_lab(paths) and any(paths.folder.iterdir()):
            problem = f"{paths.folder} is not a lab, and not empty"
            raise SettingError(problem, hint="name another folder: --lab FOLDER")
        for folder in (paths.folder, paths.programs, paths.azure, paths.log.parent):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        paths.folder.chmod(0o700)
        paths.lock.touch(0o600)


def is_lab(paths: LabPaths) -> bool:
    """Tell whether there is a lab in the folder."""
    return paths.lock.is_file()


@contextlib.contextmanager
def locked(paths: LabPaths) -> Iterator[None]:
    """Let other commands that change this lab wait. The kernel releases the lock when this process ends."""
    with paths.lock.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def delete(paths: LabPaths) -> None:
    """Delete the lab with all its data. `create` accepts no folder with other content."""
    with _reported(paths):
        shutil.rmtree(paths.folder)


def load_record(paths: LabPaths) -> Record | None:
    """Return the lab's record, None if there is none. Raise SettingError if it cannot be read."""
    with _reported(paths):
        try:
            text = paths.record.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
    return decode_record(text, str(paths.record))


def save_record(paths: LabPaths, record: Record) -> None:
    """Write the lab's record."""
    write(paths.record, encode_record(record))


def write(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file of the lab atomically. Raise SettingError."""
    try:
        write_atomically(path, text, mode=mode)
    except OSError as error:
        problem = f"{path} cannot be written ({error.strerror})"
        raise SettingError(problem, hint="make its folder writable, and see that the disk is not full") from error


@contextlib.contextmanager
def _reported(paths: LabPaths) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        problem = f"the lab's folder cannot be used ({error.filename or paths.folder}: {error.strerror})"
        raise SettingError(problem, hint="name another folder: --lab FOLDER") from error
