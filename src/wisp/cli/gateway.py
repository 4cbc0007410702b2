"""`wisp gateway`: exchange tokens for the workloads of a cluster; its other subcommands say who may use an identity."""

import os
from typing import ClassVar

import click

from wisp.azure import is_tenant
from wisp.base.errors import SettingError
from wisp.base.isolation import forbid_core_dumps
from wisp.base.log import Log
from wisp.certificates.server import CertificateOptions
from wisp.cli import version_options
from wisp.cli.options import FiniteRange
from wisp.cli.server import HELP_FLAGS, ServeByDefault, certificate_options, cluster_options, listen_options
from wisp.gateway.app import GatewayOptions, run
from wisp.gateway.authorizer import AuthorizerOptions
from wisp.gateway.limits import CallerLimits
from wisp.gateway.request import ANY_TENANT
from wisp.gateway.tokens import gateway_settings
from wisp.gateway.types import AUDIENCE
from wisp.http.asyncio_process import ListenOptions
from wisp.kubernetes.config import ApiServer

# Not WISP_GATEWAY: for a Service called wisp-gateway, pods get a variable WISP_GATEWAY_PORT that is not a port number.
_PREFIX = "WISP_TOKENS"
_SECONDS = FiniteRange(min=0)
_COUNT = click.IntRange(0)
_EXCHANGE_AUDIENCE = "api://AzureADTokenExchange"


class _GatewayCommands(ServeByDefault):
    """The subcommands of `wisp gateway`."""

    helps: ClassVar = {
        "serve": "Exchange tokens for the workloads of a cluster; the default.",
        "grant": "Let service accounts use a managed identity.",
        "revoke": "Take away what was granted.",
        "list": "List what is granted.",
    }
    modules: ClassVar = dict.fromkeys(("grant", "revoke", "list"), "wisp.cli.grants")


@click.group(
    name="gateway",
    cls=_GatewayCommands,
    context_settings={"help_option_names": HELP_FLAGS},
    epilog="`wisp gateway COMMAND --help` describes the other commands.",
)
def command() -> None:
    """Exchange tokens for the workloads of a cluster, with one federated credential, or say who may use an identity.

    Options without a subcommand are those of `serve`.
    """
    forbid_core_dumps()


@command.command(context_settings={"auto_envvar_prefix": _PREFIX, "help_option_names": HELP_FLAGS})
@version_options
@click.option(
    "--tenant",
    "tenants",
    multiple=True,
    envvar=[f"{_PREFIX}_TENANT", "AZURE_TENANT_ID"],
    metavar="TENANT",
    required=True,
    help="Tenant whose identities may be used, as clients name it; may be given several times. By default the tenant "
    "in AZURE_TENANT_ID.",
)
@click.option(
    "--audience",
    default=AUDIENCE,
    show_default=True,
    help="Audience that callers' service account tokens must have.",
)
@click.option(
    "--authority-ca",
    metavar="PATH",
    help="CA certificates (PEM) to trust for Entra, in addition to the system's.",
)
@listen_options(port=8443, requests="token requests")
@certificate_options(name="wisp-gateway", clients="workloads")
@click.option(
    "--grant-seconds",
    type=_SECONDS,
    default=10,
    show_default=True,
    help="Seconds for which the API server's permission is remembered, for a caller and an identity; 0: not at all.",
)
@click.option(
    "--denial-seconds",
    type=_SECONDS,
    default=2,
    show_default=True,
    help="Seconds for which the API server's denial is remembered; 0: not at all.",
)
@click.option(
    "--caller-rate",
    type=_SECONDS,
    default=20,
    show_default=True,
    help="Token requests per second of one pod, twice as many at first; 0 turns the limit off.",
)
@click.option(
    "--caller-requests",
    type=_COUNT,
    default=16,
    show_default=True,
    help="Token requests of one pod that may wait for an exchange at the same time; 0 turns the limit off.",
)
@click.option(
    "--requests",
    type=_COUNT,
    default=512,
    show_default=True,
    help="Token requests that may wait for a review or an exchange at the same time; 0 turns the limit off.",
)
@cluster_options
def serve(
    *,
    tenants: tuple[str, ...],
    audience: str,
    authority_ca: str | None,
    listen: ListenOptions,
    certificate: CertificateOptions,
    grant_seconds: float,
    denial_seconds: float,
    caller_rate: float,
    caller_requests: int,
    requests: int,
    log: Log,
    server: ApiServer,
) -> None:
    """Serve token requests: HTTPS on --port; health and metrics by plain HTTP on --health-port.

    Each option can also be set by a variable: WISP_TOKENS_ and its name, such as WISP_TOKENS_LOG_LEVEL. The gateway's
    own token and Entra's address are in AZURE_FEDERATED_TOKEN_FILE and AZURE_AUTHORITY_HOST, as in workloads.
    """
    if audience == _EXCHANGE_AUDIENCE:
        raise SettingError(
            f"--audience is {_EXCHANGE_AUDIENCE}, the audience of tokens for Entra",
            hint=f"use {AUDIENCE}, or an audience of your own",
        )
    if not audience.strip():
        raise SettingError("--audience is empty", hint=f"use {AUDIENCE}, or an audience of your own")
    if not _is_open(1):
        raise SettingError(
            "standard output is closed, and audit lines are written there",
            hint="collect it with the container's log, or redirect it to /dev/null",
        )
    wrong = next((name for name in tenants if not is_tenant(name) or name.lower() in ANY_TENANT), None)
    if wrong is not None:
        raise SettingError(f"--tenant is not a tenant: {wrong!r}", hint="give its GUID or its domain name")
    options = GatewayOptions(
        listen,
        certificate,
        gateway_settings(authority_ca, {"AZURE_TENANT_ID": tenants[0], **os.environ}),
        frozenset(tenant.lower() for tenant in tenants),
        AuthorizerOptions(audience, grant_seconds, denial_seconds),
        CallerLimits(rate=caller_rate, in_flight=caller_requests, total=requests),
    )
    run(options, server, log)


def _is_open(descriptor: int) -> bool:
    """Tell whether a descriptor is open: otherwise a connection would get its number, and what is written there."""
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
