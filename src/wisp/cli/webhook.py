"""`wisp webhook`: serve admission reviews in a cluster; `wisp webhook review` answers them from standard input."""

from pathlib import Path
from typing import ClassVar

import click

from wisp.admission.policy import Policy
from wisp.base.isolation import forbid_core_dumps
from wisp.base.log import Log
from wisp.certificates.server import CertificateOptions
from wisp.cli import version_options
from wisp.cli.policy import server_policy_options
from wisp.cli.server import HELP_FLAGS, ServeByDefault, certificate_options, cluster_options, listen_options
from wisp.http.asyncio_process import ListenOptions
from wisp.http.tls import VERSIONS
from wisp.kubernetes.config import ApiServer
from wisp.webhook.app import WebhookOptions, run

# Not WISP_WEBHOOK: for a Service called wisp-webhook, pods get a variable WISP_WEBHOOK_PORT that is not a port number.
_PREFIX = "WISP_ADMISSION"


class _WebhookCommands(ServeByDefault):
    """The subcommands of `wisp webhook`."""

    helps: ClassVar = {
        "serve": "Serve admission reviews in a cluster; the default.",
        "review": "Answer admission reviews from standard input.",
    }
    modules: ClassVar = {"review": "wisp.cli.review"}


@click.group(
    name="webhook",
    cls=_WebhookCommands,
    context_settings={"help_option_names": HELP_FLAGS},
    epilog="`wisp webhook review --help` describes reviews from standard input.",
)
def command() -> None:
    """Serve admission reviews in a cluster, or answer reviews from standard input.

    Options without a subcommand are those of `serve`.
    """
    forbid_core_dumps()


@command.command(context_settings={"auto_envvar_prefix": _PREFIX, "help_option_names": HELP_FLAGS})
@version_options
@server_policy_options
@listen_options(port=9443, requests="reviews")
@certificate_options(name="wisp-webhook", clients="API servers")
@click.option(
    "--webhook-configuration",
    default="wisp-webhook",
    show_default=True,
    metavar="NAME",
    help="MutatingWebhookConfiguration whose CA bundle is kept up to date.",
)
@click.option(
    "--tls-min-version",
    type=click.Choice(list(VERSIONS)),
    default="1.3",
    show_default=True,
    help="Lowest TLS version that API servers may use.",
)
@click.option(
    "--client-ca",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="CA certificates (PEM). API servers must present a client certificate that one of these CAs has issued.",
)
@cluster_options
def serve(
    *,
    policy: Policy,
    listen: ListenOptions,
    certificate: CertificateOptions,
    webhook_configuration: str,
    tls_min_version: str,
    client_ca: Path | None,
    log: Log,
    server: ApiServer,
) -> None:
    """Serve admission reviews: HTTPS on --port at /mutate-v1-pod; health and metrics by plain HTTP on --health-port.

    Each option can also be set by a variable: WISP_ADMISSION_ and its name, such as WISP_ADMISSION_LOG_LEVEL.
    """
    options = WebhookOptions(listen, certificate, webhook_configuration, tls_min_version, client_ca)
    run(options, server, policy, log)
