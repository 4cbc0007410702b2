"""The sidecar's few flags. A command line library would cost the sidecar more memory than all else it does."""

from collections.abc import Callable
from typing import NamedTuple

from wisp.base.constants import LOG_LEVELS
from wisp.base.errors import SettingError
from wisp.http.sockets import is_ipv4

USAGE = """\
Usage: wisp proxy [--proxy-port PORT] [--log-level LEVEL] [--authority-ca FILE]
                  [--passthrough LIST] [--metadata-endpoint IP[:PORT]] [--refusal-hold SECONDS]
       wisp proxy --probe [--proxy-port PORT]
       wisp proxy --version [-o text|json]

Answer http://169.254.169.254/metadata/identity/oauth2/token on 127.0.0.1:PORT with the managed identity's tokens.

  --proxy-port PORT    port to listen on, on loopback only (8000)
  --log-level LEVEL    debug, info, warning or error (info)
  --authority-ca FILE  PEM file of authorities to trust for Entra, besides the system's and SSL_CERT_FILE / SSL_CERT_DIR
  --passthrough LIST   what is passed on to the node's metadata service, names separated by commas, or none
                       (instance,versions,scheduledevents,attested,loadbalancer). Another name,
                       scheduledevents-acknowledge, passes on the POST that acknowledges an event of the node
  --metadata-endpoint IP[:PORT]
                       where the node's metadata service is (169.254.169.254:80)
  --refusal-hold SECONDS
                       how long a refusal of Entra's is remembered before Entra is asked again, 0 to 300 (5)
  --probe              ask a running sidecar whether it is ready, waiting up to 10 s for it; exit with 0 or 1
  --version            print version, commit, Python and platform
  -o, --output FORM    how --version prints them, text or json (text)
  --help               print this

Environment: AZURE_TENANT_ID, AZURE_FEDERATED_TOKEN_FILE; AZURE_CLIENT_ID (the default identity), AZURE_AUTHORITY_HOST;
AZURE_KUBERNETES_TOKEN_PROXY, _SNI_NAME, _CA_FILE or _CA_DATA (custom token endpoint); HTTPS_PROXY, ALL_PROXY, NO_PROXY.
"""


class Flags(NamedTuple):
    """What the command line says."""

    port: int = 8000
    log_level: str = "info"
    authority_ca: str | None = None
    passthrough: tuple[str, ...] | None = None
    """What is passed on to the node's metadata service, some of `wisp.imds.passthrough.NAMES`; None: its SEGMENTS."""
    metadata_endpoint: tuple[str, int] = ("169.254.169.254", 80)
    """Where the node's metadata service is: an IPv4 address and a port."""
    refusal_hold: float = 5.0
    """Seconds."""
    probe: bool = False
    version: bool = False
    output: str | None = None
    """How the version is printed, one of `wisp.base.version.FORMS`; None if that is not said."""
    help: bool = False


_VERBOSE = {"trace": "debug", "all": "debug"}
"""Levels that azure-workload-identity's proxy has besides; its least is the empty one."""

_SWITCHES: dict[str, Callable[[Flags], Flags]] = {
    "--probe": lambda flags: flags._replace(probe=True),
    "--version": lambda flags: flags._replace(version=True),
    "--help": lambda flags: flags._replace(help=True),
    "--log-level=": lambda flags: flags._replace(log_level="warning"),
    "-h": lambda flags: flags._replace(help=True),
}


def parse_flags(arguments: list[str]) -> Flags:
    """Read `--name value`, `--name=value` and switches. Raise SettingError naming the flag."""
    flags = Flags()
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if argument in _SWITCHES:
            flags = _SWITCHES[argument](flags)
        elif name in _VALUES:
            flags = _VALUES[name](flags, value if equals else next(rest, ""))
        else:
            raise SettingError(f"unknown flag {argument!r}", hint="see wisp proxy --help")
    if flags.output is not None and not flags.version:
        raise SettingError("--output is given without --version", hint="give both, or neither")
    return flags


def _with_port(flags: Flags, value: str) -> Flags:
    port = _port(value)
    if port is None:
        raise SettingError(f"--proxy-port {value!r} is not a port", hint="give a number from 1 to 65535")
    return flags._replace(port=port)


def _with_log_level(flags: Flags, value: str) -> Flags:
    level = _VERBOSE.get(value.lower(), value.lower())
    if level not in LOG_LEVELS:
        raise SettingError(f"--log-level {value!r} is unknown", hint=f"use one of {', '.join(LOG_LEVELS)}")
    return flags._replace(log_level=level)


def _with_authority_ca(flags: Flags, value: str) -> Flags:
    if not value:
        raise SettingError("--authority-ca names no file", hint="give the path of a PEM file")
    return flags._replace(authority_ca=value)


def _with_passthrough(flags: Flags, value: str) -> Flags:
    from wisp.imds.passthrough import NAMES, read_names  # noqa: PLC0415 -- readiness does not need it

    try:
        return flags._replace(passthrough=read_names(value))
    except ValueError as error:
        name = str(error)
    problem = f"--passthrough: {name!r} cannot be passed on" if name else "--passthrough names nothing"
    raise SettingError(problem, hint=f"give some of {','.join(NAMES)}, or none")


def _with_metadata_endpoint(flags: Flags, value: str) -> Flags:
    host, colon, digits = value.partition(":")
    port = _port(digits) if colon else 80
    if port is None or not is_ipv4(host):
        raise SettingError(
            f"--metadata-endpoint {value!r} is not IP or IP:PORT",
            hint="give an IPv4 address and a port from 1 to 65535, as 169.254.169.254:80",
        )
    return flags._replace(metadata_endpoint=(host, port))


def _with_output(flags: Flags, value: str) -> Flags:
    from wisp.base.version import FORMS  # noqa: PLC0415 -- loaded only for this

    if value not in FORMS:
        raise SettingError(f"--output {value!r} is unknown", hint=f"use one of {', '.join(FORMS)}")
    return flags._replace(output=value)


def _with_refusal_hold(flags: Flags, value: str) -> Flags:
    if not (value.isascii() and value.isdigit()) or int(value[:4]) > 300:
        raise SettingError(f"--refusal-hold {value!r} is not a time", hint="give whole seconds, 0 to 300")
    return flags._replace(refusal_hold=float(value))


_VALUES: dict[str, Callable[[Flags, str], Flags]] = {
    "--proxy-port": _with_port,
    "--log-level": _with_log_level,
    "--authority-ca": _with_authority_ca,
    "--passthrough": _with_passthrough,
    "--metadata-endpoint": _with_metadata_endpoint,
    "--refusal-hold": _with_refusal_hold,
    "--output": _with_output,
    "-o": _with_output,
}


def _port(text: str) -> int | None:
    usable = text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= 65535
    return int(text) if usable else None
