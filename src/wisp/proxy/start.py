"""What the image's `/proxy` runs: the sidecar, and the probe of its postStart hook without loading the sidecar.

The hook runs while the sidecar starts and shares its CPU limit.
"""

import sys

from wisp.base.errors import WispError


def main(arguments: list[str]) -> int:
    """Run the sidecar or its probe with these arguments; return the exit status."""
    port = _hooks_port(arguments)
    if port is None:
        from wisp.proxy.__main__ import main as sidecar  # noqa: PLC0415 -- the probe must not wait for it

        return sidecar(arguments)
    from wisp.proxy.probe import check  # noqa: PLC0415 -- the sidecar does not need it

    try:
        check(port)
    except WispError as error:
        sys.stderr.write(error.report())
        return error.exit_status
    return 0


def _hooks_port(arguments: list[str]) -> int | None:
    """Return the port of `--proxy-port=PORT --probe`, with any log level after it; None: something else."""
    match arguments:
        case [port_flag, "--probe"]:
            pass
        case [port_flag, "--probe", level] if level.startswith("--log-level="):
            pass
        case _:
            return None
    flag, _, port = port_flag.partition("=")
    usable = flag == "--proxy-port" and port.isascii() and port.isdigit() and 1 <= int(port[:6]) <= 65535
    return int(port) if usable else None
