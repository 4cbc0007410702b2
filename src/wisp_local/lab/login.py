"""Puts in place what `az` needs: an application to log in as, what to trust, where the cloud is, and the program."""

import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from wisp.base.errors import SettingError
from wisp.base.secret import Secret
from wisp_local.cloud.arm.catalogue import endpoints
from wisp_local.cloud.entra.directory import SecretCheck
from wisp_local.cloud.roles import OWNER
from wisp_local.cloud.state.store import Store
from wisp_local.lab import az
from wisp_local.lab.places import Places, write

NAME = "wisp-lab"
"""The application's display name."""
_LIFETIME = 10 * 365 * 24 * 3600  # seconds: as long as the CA
_ENDPOINTS_CACHE = "cloudEndpoints.json"  # what az has read of `metadata`; without it, it reads that again


def equip(places: Places, url: str) -> None:
    """Write what az is told of the cloud at `url`; another address or secret makes it log in again."""
    with Store(places.state) as store:
        login, is_new = _login(store, places)
        metadata = az.endpoints_file(endpoints(url, store.tenant().id))
        write(places.trusted, _with_the_systems(store.authority.certificate_pem.decode()))
    if is_new or _text(places.metadata) != metadata:
        for name in (az.LOGGED_IN, _ENDPOINTS_CACHE):
            (places.azure / name).unlink(missing_ok=True)
    write(places.metadata, metadata)
    told = az.Told(str(places.azure), str(places.trusted), str(places.metadata), urlsplit(url).hostname or "")
    write(places.programs / az.MARK, "")
    write(places.programs / "az", az.program(told, login), 0o700)


def has_az(environ: Mapping[str, str]) -> bool:
    """Tell whether there is an az on PATH besides those of labs."""
    folders = [Path(each) for each in environ.get("PATH", "").split(os.pathsep)]
    return any(os.access(each / "az", os.X_OK) for each in folders if not (each / az.MARK).exists())


def _login(store: Store, places: Places) -> tuple[az.Login, bool]:
    """Return as whom az logs in, and whether the secret is a new one: the old one is no longer good, or gone.

    The application owns the subscription, as the person does who creates one in Azure.
    """
    application = store.principals.put(NAME)
    store.assignments.give(application.principal_id, OWNER, store.subscription().id)
    login = az.Login(application.client_id, application.tenant_id, str(places.secret))
    kept = Secret((_text(places.secret) or "").strip())
    if store.principals.check_secret(application.client_id, kept) is SecretCheck.RIGHT:
        return login, False
    write(places.secret, store.principals.add_secret(application, lifetime=_LIFETIME).reveal())
    return login, True


def _with_the_systems(certificate: str) -> str:
    """Return the certificate and the system's authorities: az may still be asked to fetch what is not the lab's."""
    system = ssl.get_default_verify_paths().cafile
    return certificate + ((_text(Path(system)) or "") if system else "")


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise SettingError(f"cannot read {path} ({reason})", hint="make it readable, or remove it") from error
