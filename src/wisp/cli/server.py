"""What the commands that serve in a cluster have in common: options, and a group of commands that serves by default."""

import functools
import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

import click

from wisp.base.constants import LOG_LEVELS
from wisp.base.errors import SettingError
from wisp.base.log import Log
from wisp.certificates.decision import Lifetimes
from wisp.certificates.server import CertificateOptions
from wisp.cli.options import FiniteRange, option_group
from wisp.http.asyncio_process import ListenOptions
from wisp.kubernetes.config import SERVICE_ACCOUNT_DIR, ApiServer, from_kubeconfig, in_cluster

HELP_FLAGS = ["-h", "--help"]
_DAY = 86400.0
_PORT = click.IntRange(0, 65535)
_DAYS = FiniteRange(min=0, min_open=True)


class ServeByDefault(click.Group):
    """Run `serve` if the first argument is an option of its, or there is none.

    `serve` is added as usual; modules of other subcommands are imported when they run, since the server has no memory
    to spare for them.
    """

    helps: ClassVar[Mapping[str, str]]
    """The subcommands and a line of help for each."""
    modules: ClassVar[Mapping[str, str]]
    """Modules of the subcommands other than `serve`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Insert the default subcommand."""
        if not args or (args[0].startswith("-") and args[0] not in HELP_FLAGS):
            args = ["serve", *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- click's signature
        """Return the names of the subcommands."""
        return list(self.helps)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a subcommand only when it is asked for."""
        if cmd_name in self.modules:
            commands = vars(importlib.import_module(self.modules[cmd_name])).values()
            return next(found for found in commands if isinstance(found, click.Command) and found.name == cmd_name)
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the subcommands, and the options of the default one."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self.helps.items()))
        serve = self.commands["serve"]
        records = [parameter.get_help_record(ctx) for parameter in serve.get_params(ctx)]
        with formatter.section("Options of serve"):
            formatter.write_dl([record for record in records if record is not None])


def listen_options(*, port: int, requests: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add the options of a server's listeners; the command is called with `listen: ListenOptions`.

    `requests`: what is served, for the help.
    """
    options = (
        click.option(
            "--address",
            default="::",
            show_default=True,
            help=f"Address to receive {requests} at; :: includes all IPv4 addresses.",
        ),
        click.option("--port", type=_PORT, default=port, show_default=True, help=f"TLS port to receive {requests} at."),
        click.option(
            "--health-address",
            default="::",
            show_default=True,
            help="Address to serve /healthz, /readyz and /metrics at.",
        ),
        click.option(
            "--health-port",
            type=_PORT,
            default=9440,
            show_default=True,
            help="Plain HTTP port to serve /healthz, /readyz and /metrics at.",
        ),
        click.option(
            "--connections-per-source",
            type=click.IntRange(0),
            default=256,
            show_default=True,
            help="Most connections from one source address; 0 turns the limit off, for a server behind a proxy.",
        ),
        click.option(
            "--shutdown-delay",
            type=FiniteRange(min=0),
            default=5,
            show_default=True,
            help="Seconds to serve after SIGTERM, until the Service no longer sends requests to this pod.",
        ),
    )
    return option_group("listen", ListenOptions, options)


def certificate_options(*, name: str, clients: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add the options of a server's certificate; the command is called with `certificate: CertificateOptions`.

    `name`: the default name of the Service; `clients`: who calls it, for the help.
    """
    options = (
        click.option(
            "--namespace",
            envvar="POD_NAMESPACE",
            help="Namespace of the Service and the Secret; by default the pod's own.",
        ),
        click.option("--service-name", default=name, show_default=True, help=f"Service that {clients} call."),
        click.option(
            "--certificate-secret",
            default=f"{name}-certificate",
            show_default=True,
            metavar="NAME",
            help="Secret to store the CA and the certificate in.",
        ),
        click.option(
            "--certificate-dir",
            type=click.Path(path_type=Path, file_okay=False),
            metavar="DIR",
            help="Folder with the tls.crt and tls.key to use instead of a Secret and a CA of its own "
            "(for cert-manager).",
        ),
        click.option(
            "--certificate-days",
            type=_DAYS,
            default=90,
            show_default=True,
            help="Lifetime of a certificate in days; it is renewed after two thirds of that.",
        ),
        click.option(
            "--authority-days",
            type=_DAYS,
            default=3650,
            show_default=True,
            help="Lifetime of the CA in days; it is renewed after two thirds of that.",
        ),
    )
    return option_group("certificate", functools.partial(_certificate, name), options)


def cluster_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options for log and API server; the command is called with `log: Log` and `server: ApiServer`."""
    log_level = click.option(
        "--log-level",
        type=click.Choice(LOG_LEVELS),
        default="info",
        show_default=True,
        help="Lowest level that is logged.",
    )
    kubeconfig = click.option(
        "--kubeconfig",
        type=click.Path(path_type=Path),
        help="Kubeconfig for the API server; by default the pod's service account is used.",
    )
    return option_group("log", _log, [log_level])(option_group("server", _api_server, [kubeconfig])(function))


def _certificate(
    server: str,
    *,
    namespace: str | None,
    service_name: str,
    certificate_secret: str,
    certificate_dir: Path | None,
    certificate_days: float,
    authority_days: float,
) -> CertificateOptions:
    if certificate_days > authority_days:
        problem = "--certificate-days is greater than --authority-days"
        raise SettingError(problem, hint="let the CA live at least as long as its certificates")
    return CertificateOptions(
        server,
        namespace or _own_namespace(),
        service_name,
        certificate_secret,
        certificate_dir,
        Lifetimes(authority=authority_days * _DAY, certificate=certificate_days * _DAY),
    )


def _log(log_level: str) -> Log:
    return Log(log_level)


def _api_server(kubeconfig: Path | None) -> ApiServer:
    return in_cluster() if kubeconfig is None else from_kubeconfig(kubeconfig)


def _own_namespace() -> str:
    try:
        return (SERVICE_ACCOUNT_DIR / "namespace").read_text(encoding="ascii").strip()
    except OSError:
        raise SettingError(
            "--namespace is missing, and this is not a pod", hint="give --namespace or set POD_NAMESPACE"
        ) from None
