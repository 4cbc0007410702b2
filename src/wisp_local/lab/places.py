"""Where everything of a lab is: one folder, its owner's alone."""

import contextlib
import fcntl
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from wisp.base.errors import SettingError
from wisp.base.files import write_atomically
from wisp_local.lab.record import Record, parsed, written
from wisp_local.sandbox.folders import state_folder


@dataclass(frozen=True)
class Places:
    """The files of the lab in `folder`, an absolute path."""

    folder: Path

    @property
    def state(self) -> Path:
        """What the local cloud keeps: resources, and every key."""
        return self.folder / "cloud.db"

    @property
    def authority(self) -> Path:
        """The certificate of the cloud's CA; the cloud writes it."""
        return self.folder / "cloud.db.ca.pem"

    @property
    def trusted(self) -> Path:
        """What `az` trusts: that certificate, and what it would trust anyway."""
        return self.folder / "trusted.pem"

    @property
    def secret(self) -> Path:
        """What `az` logs in with."""
        return self.folder / "login.secret"

    @property
    def metadata(self) -> Path:
        """Where everything of the cloud is, as `az` reads it."""
        return self.folder / "clouds.json"

    @property
    def azure(self) -> Path:
        """The configuration folder of `az`."""
        return self.folder / "azure"

    @property
    def kubeconfig(self) -> Path:
        """What `az aks get-credentials` writes and `kubectl` reads."""
        return self.folder / "kubeconfig"

    @property
    def kube_cache(self) -> Path:
        """What `kubectl` keeps of API servers' lists of resources."""
        return self.folder / "kubecache"

    @property
    def programs(self) -> Path:
        """The folder that comes first on PATH."""
        return self.folder / "bin"

    @property
    def node(self) -> Path:
        """The lab's own cluster."""
        return self.folder / "node"

    @property
    def admin_kubeconfig(self) -> Path:
        """The administrator's credentials for the lab's own cluster."""
        return self.node / "admin.conf"

    @property
    def log(self) -> Path:
        """What the cloud says."""
        return self.folder / "logs" / "cloud.log"

    @property
    def manifest(self) -> Path:
        """The webhook's manifest, filled in for this lab."""
        return self.folder / "wisp.yaml"

    @property
    def record(self) -> Path:
        """What is wanted and what runs."""
        return self.folder / "lab.json"


def default_folder(environ: Mapping[str, str], home: Path | None) -> Path:
    """Say where a user's lab is; raises `SettingError` for one without a home."""
    folder = state_folder(environ, home)
    if folder is None:
        raise SettingError("this user has no home for a lab", hint="name a folder: --lab FOLDER")
    return folder / "lab"


def make(places: Places) -> None:
    """Make the folders of the lab, its owner's alone; raises `SettingError` for a folder that holds something else."""
    with _reported(places):
        if places.folder.is_dir() and not is_lab(places) and any(places.folder.iterdir()):
            problem = f"{places.folder} is no lab, and not empty"
            raise SettingError(problem, hint="name another folder: --lab FOLDER")
        for each in (places.folder, places.programs, places.azure, places.log.parent):
            each.mkdir(parents=True, exist_ok=True, mode=0o700)
        places.folder.chmod(0o700)
        (places.folder / _LOCK).touch(0o600)


_LOCK = "lock"


def is_lab(places: Places) -> bool:
    """Tell whether there is a lab in the folder."""
    return (places.folder / _LOCK).is_file()


@contextlib.contextmanager
def locked(places: Places) -> Iterator[None]:
    """Keep other commands that change this lab waiting; the kernel lets go of it whatever ends us."""
    with (places.folder / _LOCK).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def purge(places: Places) -> None:
    """Delete the lab with all that it kept; `make` let nothing else be in its folder."""
    with _reported(places):
        shutil.rmtree(places.folder)


def read_record(places: Places) -> Record | None:
    """Return what is written of the lab, None where there is none; raises `SettingError` when it cannot be read."""
    with _reported(places):
        try:
            text = places.record.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
    return parsed(text, str(places.record))


def keep_record(places: Places, record: Record) -> None:
    """Write down what is wanted and what runs."""
    write(places.record, written(record))


def write(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file of the lab, whole or not at all."""
    try:
        write_atomically(path, text, mode=mode)
    except OSError as error:
        raise SettingError(f"{path} cannot be written ({error.strerror})", hint="see to its folder") from error


@contextlib.contextmanager
def _reported(places: Places) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = error.filename or places.folder
        problem = f"the lab's folder cannot be used ({where}: {error.strerror})"
        raise SettingError(problem, hint="name another: --lab FOLDER") from error
