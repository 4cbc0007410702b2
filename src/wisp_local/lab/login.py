"""Prepares a lab for `az`: a service principal to log in, trusted CAs, the cloud's endpoints, the wrapper script."""

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
from wisp_local.lab.azure_cli import LOGGED_IN, MARK, CliConfig, cloud_metadata, wrapper_script
from wisp_local.lab.paths import LabPaths, write

NAME = "wisp-lab"
"""The application's display name."""
_SECRET_LIFETIME = 10 * 365 * 24 * 3600  # seconds: as long as the CA
_ENDPOINTS_CACHE = "cloudEndpoints.json"  # az's cache of `metadata`; az reads that again if the cache is missing


def set_up_azure_cli(paths: LabPaths, url: str) -> None:
    """Write the files of az for the cloud at `url`. After a change of address or secret, az logs in again."""
    with Store(paths.state) as store:
        client_id, is_new = _client_id(store, paths)
        tenant_id = store.tenant().id
        metadata = cloud_metadata(endpoints(url, tenant_id))
        certificate = store.authority.certificate_pem.decode()
    if is_new or _text(paths.metadata) != metadata:
        for name in (LOGGED_IN, _ENDPOINTS_CACHE):
            (paths.azure / name).unlink(missing_ok=True)
    system_cas = ssl.get_default_verify_paths().cafile  # az may also be asked to fetch from elsewhere
    write(paths.trusted, certificate + ((_text(Path(system_cas)) or "") if system_cas else ""))
    write(paths.metadata, metadata)
    config = CliConfig(
        folder=str(paths.azure),
        trusted=str(paths.trusted),
        metadata=str(paths.metadata),
        host=urlsplit(url).hostname or "",
        client_id=client_id,
        tenant_id=tenant_id,
        secret_file=str(paths.secret),
    )
    write(paths.programs / MARK, "")
    write(paths.programs / "az", wrapper_script(config), 0o700)


def has_azure_cli(environ: Mapping[str, str]) -> bool:
    """Tell whether there is an az on PATH that is not a lab's wrapper script."""
    folders = [Path(folder) for folder in environ.get("PATH", "").split(os.pathsep)]
    return any(os.access(folder / "az", os.X_OK) for folder in folders if not (folder / MARK).exists())


def _client_id(store: Store, paths: LabPaths) -> tuple[str, bool]:
    """Return the client id of az, and whether its secret is new because the old one is lost or no longer valid.

    The application owns the subscription, as a person does who creates one in Azure.
    """
    application = store.principals.put(NAME)
    store.assignments.give(application.principal_id, OWNER, store.subscription().id)
    secret = Secret((_text(paths.secret) or "").strip())
    if store.principals.check_secret(application.client_id, secret) is SecretCheck.RIGHT:
        return application.client_id, False
    write(paths.secret, store.principals.add_secret(application, lifetime=_SECRET_LIFETIME).reveal())
    return application.client_id, True


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise SettingError(f"cannot read {path} ({reason})", hint="make it readable, or remove it") from error
