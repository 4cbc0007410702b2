"""The sidecar's command line. A library for it would cost more memory than the rest of the sidecar."""

from collections.abc import Callable
from typing import Any, NamedTuple

from wisp.base.constants import LOG_LEVELS
from wisp.base.errors import SettingError
from wisp.http.sockets import is_ipv4

USAGE = """\
Usage: wisp proxy [--proxy-port PORT] [--log-level LEVEL] [--authority-ca FILE]
                  [--passthrough LIST] [--metadata-endpoint IP[:PORT]] [--refusal-hold SECONDS]
       wisp proxy --probe [--proxy-port PORT]
       wisp proxy --version [-o text|json]

Serve the token endpoint of the instance metadata service on 127.0.0.1:PORT, with tokens of the managed identity.

  --proxy-port PORT    port to listen on, only on loopback (8000)
  --log-level LEVEL    debug, info, warning or error (info)
  --authority-ca FILE  PEM file of CAs to trust for Entra, in addition to the system's and SSL_CERT_FILE / SSL_CERT_DIR
  --passthrough LIST   requests to forward to the node's metadata service: names separated by commas, or none
                       (instance,versions,scheduledevents,attested,loadbalancer). scheduledevents-acknowledge also
                       forwards the POST that acknowledges an event of the node
  --metadata-endpoint IP[:PORT]
                       address of the node's metadata service (169.254.169.254:80)
  --refusal-hold SECONDS
                       how long a refusal by Entra is cached before the next request to Entra, 0 to 300 (5)
  --probe              wait up to 10 s until a running sidecar is ready; the exit status is 0 if it is, else 1
  --version            print version, commit, Python and platform
  -o, --output FORM    output format of --version, text or json (text)
  --help               print this help

Environment: AZURE_TENANT_ID, AZURE_FEDERATED_TOKEN_FILE; AZURE_CLIENT_ID (the default identity), AZURE_AUTHORITY_HOST;
AZURE_KUBERNETES_TOKEN_PROXY, _SNI_NAME, _CA_FILE or _CA_DATA (custom token endpoint); HTTPS_PROXY, ALL_PROXY, NO_PROXY.
"""


class Flags(NamedTuple):
    """The values of the flags."""

    port: int = 8000
    log_level: str = "info"
    authority_ca: str | None = None
    passthrough: tuple[str, ...] = ("instance", "versions", "scheduledevents", "attested", "loadbalancer")
    """What is forwarded to the node's metadata service: some of `wisp.imds.passthrough.NAMES`, by default SEGMENTS."""
    metadata_endpoint: tuple[str, int] = ("169.254.169.254", 80)
    """IPv4 address and port of the node's metadata service."""
    refusal_hold: float = 5.0
    """Seconds."""
    probe: bool = False
    version: bool = False
    output: str | None = None
    """The format of --version, one of `wisp.base.version.FORMS`; None if it is not given."""
    help: bool = False


def parse_flags(arguments: list[str]) -> Flags:
    """Parse `--name value`, `--name=value` and switches. Raise SettingError naming the flag."""
    values: dict[str, Any] = {}
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if argument in _SWITCHES:
            field, parsed = _SWITCHES[argument]
        elif name in _VALUES:
            field, parse, problem, hint = _VALUES[name]
            value = value if equals else next(rest, "")
            parsed = parse(value)
            if parsed is None:
                raise SettingError(f"{name} {value!r} {problem}", hint=hint)
        else:
            raise SettingError(f"unknown flag {argument!r}", hint="see wisp proxy --help")
        values[field] = parsed
    flags = Flags(**values)
    if flags.output is not None and not flags.version:
        raise SettingError("--output is given without --version", hint="give both, or neither")
    return flags


def _port(text: str) -> int | None:
    is_port = text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= 65535
    return int(text) if is_port else None


def _log_level(text: str) -> str | None:
    level = _LEVEL_ALIASES.get(text.lower(), text.lower())
    return level if level in LOG_LEVELS else None


def _endpoint(text: str) -> tuple[str, int] | None:
    host, colon, digits = text.partition(":")
    port = _port(digits) if colon else 80
    return (host, port) if port is not None and is_ipv4(host) else None


def _refusal_hold(text: str) -> float | None:
    return float(text) if text.isascii() and text.isdigit() and int(text[:4]) <= 300 else None


def _output(text: str) -> str | None:
    from wisp.base.version import FORMS  # noqa: PLC0415 -- loaded only for this

    return text if text in FORMS else None


def _file(text: str) -> str:
    if not text:
        raise SettingError("--authority-ca names no file", hint="give the path of a PEM file")
    return text


def _passthrough(text: str) -> tuple[str, ...]:
    from wisp.imds.passthrough import NAMES, read_names  # noqa: PLC0415 -- readiness does not need it

    try:
        return read_names(text)
    except ValueError as error:
        name = str(error)
    problem = f"--passthrough: {name!r} cannot be passed on" if name else "--passthrough names nothing"
    raise SettingError(problem, hint=f"give some of {','.join(NAMES)}, or none")


_SWITCHES: dict[str, tuple[str, Any]] = {
    "--probe": ("probe", True),
    "--version": ("version", True),
    "--help": ("help", True),
    "-h": ("help", True),
    "--log-level=": ("log_level", "warning"),  # the least verbose level of azure-workload-identity's proxy
}
_LEVEL_ALIASES = {"trace": "debug", "all": "debug"}
"""More levels of azure-workload-identity's proxy."""

_FORMATS = "use one of text, json"
_VALUES: dict[str, tuple[str, Callable[[str], Any], str, str]] = {
    "--proxy-port": ("port", _port, "is not a port", "give a number from 1 to 65535"),
    "--log-level": ("log_level", _log_level, "is unknown", f"use one of {', '.join(LOG_LEVELS)}"),
    "--authority-ca": ("authority_ca", _file, "", ""),
    "--passthrough": ("passthrough", _passthrough, "", ""),
    "--metadata-endpoint": (
        "metadata_endpoint",
        _endpoint,
        "is not IP or IP:PORT",
        "give an IPv4 address and a port from 1 to 65535, as 169.254.169.254:80",
    ),
    "--refusal-hold": ("refusal_hold", _refusal_hold, "is not a time", "give whole seconds, 0 to 300"),
    "--output": ("output", _output, "is unknown", _FORMATS),
    "-o": ("output", _output, "is unknown", _FORMATS),
}
"""By flag: the field, the parser, which returns None for a bad value, and then the problem and the hint."""
