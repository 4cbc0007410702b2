"""Run the sidecar (`wisp proxy`, `python -m wisp.proxy`, the image's `/proxy`), or the probe of its postStart hook.

The hook runs while the sidecar starts and shares its CPU limit, so it loads nothing of the sidecar.
"""

import sys

from wisp.base.errors import WispError


def main(arguments: list[str]) -> int:
    """Run the sidecar or its probe with these arguments; return the exit status."""
    port = _port_of_hook(arguments)
    if port is None:
        from wisp.proxy.app import main as run  # noqa: PLC0415 -- the hook must not load it

        return run(arguments)
    from wisp.proxy.probe import check  # noqa: PLC0415 -- the sidecar does not need it

    try:
        check(port)
    except WispError as error:
        sys.stderr.write(error.report())
        return error.exit_status
    return 0


def _port_of_hook(arguments: list[str]) -> int | None:
    """Return the port of `--proxy-port=PORT --probe`, with any log level after it; None for other arguments."""
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
