"""`wisp webhook`: serve admission reviews in a cluster; `wisp webhook review` answers them from standard input."""

from pathlib import Path

import click

from wisp.admission.policy import Policy
from wisp.base.constants import LOG_LEVELS
from wisp.base.errors import SettingError
from wisp.base.isolation import forbid_core_dumps
from wisp.base.log import Log
from wisp.certificates.decision import Lifetimes
from wisp.cli import version_options
from wisp.cli.policy import policy_options
from wisp.http.tls import VERSIONS
from wisp.kubernetes.config import SERVICE_ACCOUNT_DIR, from_kubeconfig, in_cluster
from wisp.webhook.app import WebhookOptions, run

# Not WISP_WEBHOOK: for a Service called wisp-webhook, pods get a variable WISP_WEBHOOK_PORT that is not a port number.
_PREFIX = "WISP_ADMISSION"
_DAY = 86400.0
_HELP_FLAGS = ["-h", "--help"]
_SUBCOMMANDS = {
    "serve": "Serve admission reviews in a cluster; the default.",
    "review": "Answer admission reviews from standard input.",
}
_PORT = click.IntRange(0, 65535)
_DAYS = click.FloatRange(min=0, min_open=True)


class _ServeByDefault(click.Group):
    """Run `serve` unless the first argument is the name of a subcommand or asks for help."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Insert the default subcommand."""
        if not args or args[0] not in (*_SUBCOMMANDS, *_HELP_FLAGS):
            args = ["serve", *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- click's signature
        """Return the names of the subcommands."""
        return list(_SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load `review` only when it is asked for."""
        if cmd_name == "review":
            from wisp.cli.review import review  # noqa: PLC0415 -- the server has no memory to spare for it

            return review
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the subcommands, and the options of the default one."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_SUBCOMMANDS.items()))
        records = [parameter.get_help_record(ctx) for parameter in serve.get_params(ctx)]
        with formatter.section("Options of serve"):
            formatter.write_dl([record for record in records if record is not None])


@click.group(
    name="webhook",
    cls=_ServeByDefault,
    context_settings={"help_option_names": _HELP_FLAGS},
    epilog="`wisp webhook review --help` describes reviews from standard input.",
)
def command() -> None:
    """Serve admission reviews in a cluster, or answer reviews from standard input.

    Options without a subcommand are those of `serve`.
    """
    forbid_core_dumps()


@command.command(context_settings={"auto_envvar_prefix": _PREFIX, "help_option_names": _HELP_FLAGS})
@version_options
@policy_options
@click.option(
    "--address", default="::", show_default=True, help="Address to receive reviews at; :: includes all IPv4 addresses."
)
@click.option("--port", type=_PORT, default=9443, show_default=True, help="TLS port to receive reviews at.")
@click.option(
    "--health-address", default="::", show_default=True, help="Address to serve /healthz, /readyz and /metrics at."
)
@click.option(
    "--health-port",
    type=_PORT,
    default=9440,
    show_default=True,
    help="Plain HTTP port to serve /healthz, /readyz and /metrics at.",
)
@click.option(
    "--namespace", envvar="POD_NAMESPACE", help="Namespace of the Service and the Secret; by default the pod's own."
)
@click.option("--service-name", default="wisp-webhook", show_default=True, help="Service that API servers call.")
@click.option(
    "--webhook-configuration",
    default="wisp-webhook",
    show_default=True,
    metavar="NAME",
    help="MutatingWebhookConfiguration whose CA bundle is kept up to date.",
)
@click.option(
    "--certificate-secret",
    default="wisp-webhook-certificate",
    show_default=True,
    metavar="NAME",
    help="Secret to store the CA and the certificate in.",
)
@click.option(
    "--certificate-dir",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder with the tls.crt and tls.key to use instead of a Secret and a CA of its own (for cert-manager).",
)
@click.option(
    "--certificate-days",
    type=_DAYS,
    default=90,
    show_default=True,
    help="Lifetime of a certificate in days; it is renewed after two thirds of that.",
)
@click.option(
    "--authority-days",
    type=_DAYS,
    default=3650,
    show_default=True,
    help="Lifetime of the CA in days; it is renewed after two thirds of that.",
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
@click.option(
    "--connections-per-source",
    type=click.IntRange(0),
    default=256,
    show_default=True,
    help="Most connections from one source address; 0 turns the limit off, for a webhook behind a proxy.",
)
@click.option(
    "--shutdown-delay",
    type=click.FloatRange(min=0),
    default=5,
    show_default=True,
    help="Seconds to serve after SIGTERM, until the Service no longer sends requests to this pod.",
)
@click.option(
    "--log-level", type=click.Choice(LOG_LEVELS), default="info", show_default=True, help="Lowest level that is logged."
)
@click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path),
    help="Kubeconfig for the API server; by default the pod's service account is used.",
)
def serve(
    *,
    policy: Policy,
    address: str,
    port: int,
    health_address: str,
    health_port: int,
    namespace: str | None,
    service_name: str,
    webhook_configuration: str,
    certificate_secret: str,
    certificate_dir: Path | None,
    certificate_days: float,
    authority_days: float,
    tls_min_version: str,
    client_ca: Path | None,
    connections_per_source: int,
    shutdown_delay: float,
    log_level: str,
    kubeconfig: Path | None,
) -> None:
    """Serve admission reviews: HTTPS on --port at /mutate-v1-pod; health and metrics by plain HTTP on --health-port.

    Each option can also be set by a variable: WISP_ADMISSION_ and its name, such as WISP_ADMISSION_LOG_LEVEL.
    """
    if certificate_days > authority_days:
        problem = "--certificate-days is greater than --authority-days"
        raise SettingError(problem, hint="let the CA live at least as long as its certificates")
    options = WebhookOptions(
        address=address,
        port=port,
        health_address=health_address,
        health_port=health_port,
        namespace=namespace or _own_namespace(),
        service_name=service_name,
        configuration=webhook_configuration,
        secret=certificate_secret,
        certificate_dir=certificate_dir,
        tls_min_version=tls_min_version,
        client_ca=client_ca,
        lifetimes=Lifetimes(authority=authority_days * _DAY, certificate=certificate_days * _DAY),
        connections_per_source=connections_per_source,
        shutdown_delay=shutdown_delay,
    )
    server = in_cluster() if kubeconfig is None else from_kubeconfig(kubeconfig)
    run(options, server, policy, Log(log_level))


def _own_namespace() -> str:
    try:
        return (SERVICE_ACCOUNT_DIR / "namespace").read_text(encoding="ascii").strip()
    except OSError:
        raise SettingError(
            "--namespace is missing, and this is not a pod", hint="give --namespace or set POD_NAMESPACE"
        ) from None
