"""`wisp webhook`: serve admission reviews in a cluster; `wisp webhook review` answers them from standard input."""

from pathlib import Path

import click

from wisp.admission.contract import Policy
from wisp.base.constants import LOG_LEVELS
from wisp.base.errors import SettingError
from wisp.base.isolation import forbid_core_dumps
from wisp.base.log import Log
from wisp.cli.policy import policy_options
from wisp.cli.versioned import version_options
from wisp.http.tls import VERSIONS
from wisp.kubernetes import config as access
from wisp.kubernetes.config import cluster_place
from wisp.webhook.certificates.certificate import Lives
from wisp.webhook.running import Options, run

# Not WISP_WEBHOOK: of a Service called wisp-webhook, pods are given a WISP_WEBHOOK_PORT that is no port number.
_PREFIX = "WISP_ADMISSION"
_DAY = 86400.0
_PORT = click.IntRange(0, 65535)


class _ServeUnlessTold(click.Group):
    """`wisp webhook` serves; only a word that is another command's name is one."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take what begins with an option, or with nothing, for the options of `serve`."""
        if not args or args[0] not in self.list_commands(ctx):
            args = ["serve", *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name what there is."""
        return [*super().list_commands(ctx), "review"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load `review` only when it is asked for."""
        if cmd_name == "review":
            from wisp.cli.review import review  # noqa: PLC0415 -- the server has no memory to spare for it

            return review
        return super().get_command(ctx, cmd_name)


@click.group(name="webhook", cls=_ServeUnlessTold)
def command() -> None:
    """Serve admission reviews in a cluster (without a further word), or answer some from standard input."""
    forbid_core_dumps()


@command.command(
    context_settings={"auto_envvar_prefix": _PREFIX, "help_option_names": ["-h", "--help"]},
    epilog="`wisp webhook review --help` tells of reviews from standard input.",
)
@version_options
@policy_options
@click.option("--address", default="::", show_default=True, help="Where reviews are taken; :: is IPv4 as well.")
@click.option("--port", type=_PORT, default=9443, show_default=True, help="And on which port, by TLS.")
@click.option("--health-address", default="::", show_default=True, help="Where /healthz, /readyz and /metrics are.")
@click.option("--health-port", type=_PORT, default=9440, show_default=True, help="And on which port, by plain HTTP.")
@click.option("--namespace", envvar="POD_NAMESPACE", help="Of the Service and the Secret.  [the pod's own]")
@click.option("--service-name", default="wisp-webhook", show_default=True, help="The Service that API servers call.")
@click.option(
    "--webhook-configuration",
    default="wisp-webhook",
    show_default=True,
    metavar="NAME",
    help="The MutatingWebhookConfiguration whose CA bundle is kept.",
)
@click.option(
    "--certificate-secret",
    default="wisp-webhook-certificate",
    show_default=True,
    metavar="NAME",
    help="The Secret that CA and certificate are kept in.",
)
@click.option(
    "--certificate-dir",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="tls.crt and tls.key that somebody else keeps (cert-manager); no Secret, no CA bundle.",
)
@click.option(
    "--certificate-days",
    type=click.FloatRange(min=0, min_open=True),
    default=90,
    show_default=True,
    help="Life of a certificate; two thirds in, there is a new one.",
)
@click.option(
    "--authority-days",
    type=click.FloatRange(min=0, min_open=True),
    default=3650,
    show_default=True,
    help="Life of the CA, likewise.",
)
@click.option("--tls-min-version", type=click.Choice(list(VERSIONS)), default="1.3", show_default=True)
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
    help="Seconds of service after SIGTERM, while endpoints forget this pod.",
)
@click.option(
    "--log-level",
    type=click.Choice(LOG_LEVELS),
    default="info",
    show_default=True,
)
@click.option("--kubeconfig", type=click.Path(path_type=Path), help="The way to the API server.  [the pod's own]")
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
    """Serve admission reviews: https on --port at /mutate-v1-pod; health and metrics in the clear on --health-port.

    Each option can also be a variable: WISP_ADMISSION_ and its name, such as WISP_ADMISSION_LOG_LEVEL.
    """
    options = Options(
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
        connections_per_source=connections_per_source,
        lives=_lives(certificate_days, authority_days),
        shutdown_delay=shutdown_delay,
    )
    way = access.in_cluster(cluster_place()) if kubeconfig is None else access.from_kubeconfig(kubeconfig)
    run(options, way, policy, Log(log_level))


def _lives(certificate_days: float, authority_days: float) -> Lives:
    if certificate_days > authority_days:
        raise SettingError("--certificate-days are more than --authority-days", hint="a CA outlives its certificates")
    return Lives(authority=authority_days * _DAY, leaf=certificate_days * _DAY)


def _own_namespace() -> str:
    try:
        return (access.MOUNT / "namespace").read_text(encoding="ascii").strip()
    except OSError:
        raise SettingError("no --namespace, and not in a pod", hint="give --namespace or POD_NAMESPACE") from None
