"""Read the environment, once, into immutable settings. No other module reads it."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from wisp.azure import DEFAULT_AUTHORITY, authority_url, cloud_named, is_guid, is_tenant, without_credentials
from wisp.base.constants import PEM_BEGIN
from wisp.base.errors import SettingError
from wisp.base.secret import Secret

if TYPE_CHECKING:
    from wisp.entra.route import ForwardProxy, TokenProxy
else:  # most sidecars have neither, and do not load the classes; a string would be compiled, which takes 0.2 MB
    ForwardProxy = TokenProxy = tuple

_INJECTED = (
    "the webhook sets it in pods labelled azure.workload.identity/use=true, and the chart for the gateway; "
    "elsewhere set it to"
)


class ExchangeSettings(NamedTuple):
    """Which identity's tokens to request, from which endpoint, with which assertion."""

    client_id: str | None
    """The pod's own managed identity, in lower case; None if the service account names none."""
    tenant: str
    token_file: str
    authority: str
    authority_ca: str | None = None
    """A PEM file of certificate authorities to trust in addition to the system's."""
    token_proxy: TokenProxy | None = None
    """The custom token endpoint that is used instead of the authority."""
    forward: ForwardProxy | None = None
    """The forward proxy on the way to the token endpoint."""
    authority_ca_data: str | None = None
    """The same as `authority_ca`, as PEM text."""

    @property
    def endpoint_name(self) -> str:
        """The token endpoint, as errors name it."""
        if self.token_proxy is None:
            return f"Entra at {self.authority}"
        return f"The token endpoint {self.token_proxy.url} (AZURE_KUBERNETES_TOKEN_PROXY)"

    def described(self) -> dict[str, str | None]:
        """Return the settings to log: no credentials, no certificates."""
        names = ("client_id", "tenant", "token_file", "authority", "authority_ca")
        fields = dict(zip(names, self[:5], strict=True))
        if self.token_proxy is not None:
            fields |= {"token_proxy": self.token_proxy.url, "sni_name": self.token_proxy.sni_name}
        if self.forward is not None:
            fields["forward_proxy"] = self.forward.url
        return fields


def exchange_settings(authority_ca: str | None = None, environ: Mapping[str, str] | None = None) -> ExchangeSettings:
    """Read the AZURE_ variables of the exchange, WISP_AUTHORITY_CA_DATA, and HTTPS_PROXY, ALL_PROXY and NO_PROXY.

    An empty value counts as missing, as in the Azure SDKs. Raise SettingError, which names the variable.
    """
    environ = os.environ if environ is None else environ
    tenant = _required(environ, "AZURE_TENANT_ID", "the identity's tenant (az account show --query tenantId)")
    if not is_tenant(tenant):
        raise SettingError(f"AZURE_TENANT_ID is not a tenant: {tenant!r}", hint="give its GUID or its domain name")
    token_file = _required(environ, "AZURE_FEDERATED_TOKEN_FILE", "the path of the projected service account token")
    client_id = environ.get("AZURE_CLIENT_ID", "").strip() or None
    if client_id is not None and not is_guid(client_id):
        raise SettingError(
            f"AZURE_CLIENT_ID is not a GUID: {client_id!r}",
            hint="give the managed identity's client id (az identity show --query clientId), not its name",
        )
    authority = _authority(environ)
    if authority_ca is not None:
        _check_ca("--authority-ca", authority_ca)
    token_proxy = _token_proxy(environ)
    forward = _forward_for(authority if token_proxy is None else token_proxy.url, environ)
    ca_data = environ.get("WISP_AUTHORITY_CA_DATA", "").strip() or None
    if ca_data is not None and PEM_BEGIN not in ca_data:
        raise SettingError("WISP_AUTHORITY_CA_DATA holds no certificate", hint="give PEM text, line ends and all")
    plain = (client_id and client_id.lower(), tenant, token_file, authority, authority_ca)
    return ExchangeSettings(*plain, token_proxy, forward, ca_data)


def _authority(environ: Mapping[str, str]) -> str:
    host = environ.get("AZURE_AUTHORITY_HOST", "").strip() or DEFAULT_AUTHORITY
    cloud = cloud_named(host)
    if cloud is not None:
        raise SettingError(
            f"AZURE_AUTHORITY_HOST is a cloud's name: {host!r}", hint=f"use its authority, {cloud.authorities[0]}"
        )
    authority = authority_url(host)
    if authority is None:
        raise SettingError(
            f"AZURE_AUTHORITY_HOST is not an https URL: {without_credentials(host)!r}", hint=f"use {DEFAULT_AUTHORITY}"
        )
    return authority


def _token_proxy(environ: Mapping[str, str]) -> TokenProxy | None:
    if not any(name.startswith("AZURE_KUBERNETES_") for name in environ):
        return None
    from wisp.entra.route import token_proxy_of  # noqa: PLC0415 -- most sidecars have none, and save the memory

    token_proxy = token_proxy_of(environ)
    if token_proxy is not None and token_proxy.ca_file is not None:
        _check_ca("AZURE_KUBERNETES_CA_FILE", token_proxy.ca_file)
    return token_proxy


def _forward_for(url: str, environ: Mapping[str, str]) -> ForwardProxy | None:
    if not any(name.lower() in ("https_proxy", "all_proxy") for name in environ):
        return None
    from wisp.entra.route import forward_proxy_for  # noqa: PLC0415 -- the same

    return forward_proxy_for(url, environ)


class WorkloadSettings(NamedTuple):
    """What the sidecar knows of its pod's workload."""

    object_id: str | None = None
    """The identity's principal id, for clients that select it by that."""
    resource_id: str | None = None
    """The identity's Azure resource id, for clients that select it by that."""
    identity_header: Secret | None = None
    """What clients that use App Service's dialect must send as X-IDENTITY-HEADER; None: any value is accepted."""
    header_required: bool = False
    """Whether clients must send it in every dialect, because others than the workload can reach the sidecar."""


def workload_settings(environ: Mapping[str, str] | None = None) -> WorkloadSettings:
    """Read AZURE_OBJECT_ID, AZURE_RESOURCE_ID, IDENTITY_HEADER and WISP_IDENTITY_HEADER_REQUIRED; all are optional.

    Raise SettingError, which names the variable.
    """
    environ = os.environ if environ is None else environ
    object_id = environ.get("AZURE_OBJECT_ID", "").strip() or None
    if object_id is not None and not is_guid(object_id):
        raise SettingError(
            f"AZURE_OBJECT_ID is not a GUID: {object_id!r}",
            hint="give the managed identity's principal id (az identity show --query principalId)",
        )
    resource_id = environ.get("AZURE_RESOURCE_ID", "").strip() or None
    if resource_id is not None and not resource_id.startswith("/subscriptions/"):
        raise SettingError(
            f"AZURE_RESOURCE_ID is not a resource id: {resource_id!r}",
            hint="give the managed identity's (az identity show --query id)",
        )
    header = environ.get("IDENTITY_HEADER", "").strip()
    required = environ.get("WISP_IDENTITY_HEADER_REQUIRED", "").strip().lower() == "true"
    if required and not header:
        raise SettingError("WISP_IDENTITY_HEADER_REQUIRED is set without IDENTITY_HEADER", hint="set both or none")
    return WorkloadSettings(object_id, resource_id, Secret(header) if header else None, required)


def _required(environ: Mapping[str, str], name: str, what: str) -> str:
    value = environ.get(name, "").strip()
    if not value:
        state = "empty" if name in environ else "not set"
        raise SettingError(f"{name} is {state}", hint=f"{_INJECTED} {what}")
    return value


def _check_ca(name: str, path: str) -> None:
    """Refuse a CA file that cannot be used, now rather than at the first exchange."""
    try:
        # Non-blocking, so that a FIFO in its place cannot hang the start.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            text = file.read(1 << 20) or b""
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SettingError(f"{name} {path!r}: {reason}", hint="name a readable PEM file") from None
    if PEM_BEGIN.encode() not in text:
        raise SettingError(f"{name} {path!r} holds no certificate", hint="name a file in PEM form")
