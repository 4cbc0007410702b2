"""What the command line asks for: decides whose tokens are meant by the flags alone; touches no machine."""

from dataclasses import dataclass
from pathlib import Path

from wisp.azure.clouds import DEFAULT_AUTHORITY, authority_url, is_guid, is_tenant
from wisp.base.errors import SettingError

DEFAULT_IDENTITY = "wisp-run"
GROUP = "wisp-run"
LOCATION = "eastus"
ISSUER_BASE = "https://wisp-run.invalid"
"""Base URL of the issuer that vouches for the command; it resolves nowhere (RFC 6761 §6.4)."""
DAY = 24 * 60 * 60


@dataclass(frozen=True)
class Flags:
    """What the command line says; None is not given."""

    identity: str | None = None
    client_id: str | None = None
    state: Path | None = None
    token_lifetime: int | None = None
    authority_host: str | None = None
    tenant: str | None = None
    federated_token_file: Path | None = None
    authority_ca: Path | None = None
    intercept: bool = False


@dataclass(frozen=True)
class LocalCloud:
    """A cloud on this machine: the identity called `identity` in it, made when new, or the one of `client_id`.

    `state` None is one that goes with the command; `token_lifetime` is in seconds.
    """

    state: Path | None
    identity: str
    client_id: str | None
    token_lifetime: int


@dataclass(frozen=True)
class RealAuthority:
    """Entra itself, or whoever is at `host` (https, ends in a slash): who may be asked for, and by which assertion."""

    host: str
    tenant: str
    client_id: str
    token_file: Path
    ca: Path | None


Authority = LocalCloud | RealAuthority

_REAL = ("authority_host", "tenant", "federated_token_file", "authority_ca")
_REAL_NEEDS = ("tenant", "client_id", "federated_token_file")
_LOCAL = ("identity", "state", "token_lifetime", "intercept")


def choose(flags: Flags) -> Authority:
    """Say which authority is meant; raises SettingError for flags that do not go together or cannot be right."""
    if flags.client_id is not None and not is_guid(flags.client_id):
        raise SettingError(f"--client-id {flags.client_id!r} is no GUID", hint="give the client id, not the name")
    if any(getattr(flags, name) is not None for name in _REAL):
        return _real(flags)
    if flags.client_id is not None and flags.identity is not None:
        raise SettingError("--client-id and --identity name the identity twice", hint="give one of them")
    return LocalCloud(
        state=flags.state,
        identity=flags.identity or DEFAULT_IDENTITY,
        client_id=flags.client_id and flags.client_id.lower(),
        token_lifetime=flags.token_lifetime or DAY,
    )


def _real(flags: Flags) -> RealAuthority:
    for name in _LOCAL:
        if getattr(flags, name):
            hint = "leave it away: " + (_NO_WAY_OUT if name == "intercept" else "it is about the local cloud")
            raise SettingError(f"{_flag(name)} does not go with a real authority", hint=hint)
    missing = [_flag(name) for name in _REAL_NEEDS if not getattr(flags, name)]
    if missing:
        raise SettingError(f"a real authority needs {' and '.join(missing)}", hint="see wisp run --help")
    host = authority_url(flags.authority_host or DEFAULT_AUTHORITY)
    if host is None:
        problem = f"--authority-host {flags.authority_host!r} is no https URL"
        raise SettingError(problem, hint=f"{DEFAULT_AUTHORITY} is Azure's")
    tenant, client_id, token_file = flags.tenant or "", flags.client_id or "", flags.federated_token_file or Path()
    if not is_tenant(tenant):
        raise SettingError(f"--tenant {tenant!r} is no tenant", hint="give its GUID or its domain name")
    return RealAuthority(host, tenant, client_id.lower(), token_file, flags.authority_ca)


_NO_WAY_OUT = "its network has no way out"


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
