"""The options of `wisp run`: which authority issues the tokens, and where its files are."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from wisp.azure import DEFAULT_AUTHORITY, authority_url, is_guid, is_tenant
from wisp.base.errors import SettingError
from wisp_local.sandbox.folders import state_folder

DEFAULT_IDENTITY = "wisp-run"
GROUP = "wisp-run"
LOCATION = "eastus"
ISSUER_BASE = "https://wisp-run.invalid"
"""Base URL of the issuer of the command's assertions; it resolves nowhere (RFC 6761 §6.4)."""
DAY = 24 * 60 * 60
_REAL = ("authority_host", "tenant", "federated_token_file", "authority_ca")
_REAL_NEEDS = ("tenant", "client_id", "federated_token_file")
_LOCAL = ("identity", "state", "token_lifetime", "intercept")


@dataclass(frozen=True)
class Flags:
    """The flags of the command line; None is not given."""

    identity: str | None = None
    client_id: str | None = None
    state: Path | None = None
    token_lifetime: int | None = None
    authority_host: str | None = None
    tenant: str | None = None
    federated_token_file: Path | None = None
    authority_ca: Path | None = None
    intercept: bool = False


class LocalCloud(msgspec.Struct, frozen=True, tag=True):
    """A local cloud, and an identity in it: the one of `client_id`, or the one called `identity`, created if new.

    Without a `state` file, the cloud ends with the command. `token_lifetime` is in seconds.
    """

    state: Path | None
    identity: str
    client_id: str | None
    token_lifetime: int


class RealAuthority(msgspec.Struct, frozen=True, tag=True):
    """Entra itself or another authority at `host` (https, ends in a slash), and an identity with its assertion file."""

    host: str
    tenant: str
    client_id: str
    token_file: Path
    ca: Path | None


Authority = LocalCloud | RealAuthority


def choose(flags: Flags) -> Authority:
    """Return the authority that the flags select. Raise SettingError if flags are invalid or contradict each other."""
    if flags.client_id is not None and not is_guid(flags.client_id):
        raise SettingError(f"--client-id {flags.client_id!r} is not a GUID", hint="give the client id, not the name")
    if any(getattr(flags, name) is not None for name in _REAL):
        return _choose_real(flags)
    if flags.client_id is not None and flags.identity is not None:
        raise SettingError("--client-id and --identity name the identity twice", hint="give one of them")
    return LocalCloud(
        state=flags.state,
        identity=flags.identity or DEFAULT_IDENTITY,
        client_id=flags.client_id and flags.client_id.lower(),
        token_lifetime=flags.token_lifetime or DAY,
    )


def _choose_real(flags: Flags) -> RealAuthority:
    for name in _LOCAL:
        if getattr(flags, name):
            reason = "the network of --intercept has no way out" if name == "intercept" else "it is for the local cloud"
            raise SettingError(f"{_flag(name)} cannot be used with a real authority", hint=f"remove it: {reason}")
    missing = [_flag(name) for name in _REAL_NEEDS if not getattr(flags, name)]
    if missing:
        raise SettingError(f"a real authority needs {' and '.join(missing)}", hint="see wisp run --help")
    host = authority_url(flags.authority_host or DEFAULT_AUTHORITY)
    if host is None:
        problem = f"--authority-host {flags.authority_host!r} is not an https URL"
        raise SettingError(problem, hint=f"give a URL such as {DEFAULT_AUTHORITY}")
    tenant, client_id, token_file = flags.tenant or "", flags.client_id or "", flags.federated_token_file or Path()
    if not is_tenant(tenant):
        raise SettingError(f"--tenant {tenant!r} is not a tenant", hint="give its GUID or its domain name")
    return RealAuthority(host, tenant, client_id.lower(), token_file, flags.authority_ca)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


@dataclass(frozen=True)
class Prepared:
    """An authority whose files exist. Logs are kept next to `state`, if that is not None."""

    authority: Authority
    state: Path | None
    notes: tuple[str, ...] = ()


def prepare(authority: Authority, environ: Mapping[str, str], home: Path | None) -> Prepared:
    """Find the files of `authority`, and make the folder of the user's own state private. Raise SettingError."""
    if isinstance(authority, LocalCloud) and authority.state is not None:
        state = _existing("--state", authority.state, authority.state.parent)
        return Prepared(msgspec.structs.replace(authority, state=state), state)
    own_state, reason = _usable(default_state(environ, home))
    if isinstance(authority, LocalCloud):
        note = f"the local cloud and its identity are deleted when the command ends ({reason})"
        return Prepared(msgspec.structs.replace(authority, state=own_state), own_state, () if own_state else (note,))
    token_file = _existing("--federated-token-file", authority.token_file, authority.token_file)
    ca = authority.ca and _existing("--authority-ca", authority.ca, authority.ca)
    return Prepared(msgspec.structs.replace(authority, token_file=token_file, ca=ca), own_state)


def default_state(environ: Mapping[str, str], home: Path | None) -> Path | None:
    """Return the path of a user's state file: None for a user without a home."""
    folder = state_folder(environ, home)
    return None if folder is None else folder / "run.db"


def _usable(state: Path | None) -> tuple[Path | None, str]:
    """Make the folder of the user's own state file; return None and the reason if it cannot be used."""
    if state is None:
        return None, "this user has no home"
    folder = state.parent
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if folder.stat().st_mode & 0o077:
            folder.chmod(0o700)
        writable = os.access(folder, os.W_OK | os.X_OK) and (not state.exists() or os.access(state, os.R_OK | os.W_OK))
    except OSError as error:
        return None, f"{error.filename}: {(error.strerror or str(error)).lower()}"
    return (state, "") if writable else (None, f"{folder} is not writable")


def _existing(flag: str, path: Path, needed: Path) -> Path:
    """Return a path of the command line as an absolute path."""
    if not needed.exists():
        raise SettingError(f"{flag} {path}: {needed.absolute()} does not exist", hint="give an existing path")
    return path.absolute()
