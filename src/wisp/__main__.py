"""The `wisp` command: the sidecar goes straight to its own package, everything else through the command line library.

The split is what keeps the sidecar small: a command line library costs it more memory than the whole proxy does.
"""

import sys

_SIDECARS_OWN = ("--proxy-port", "--log-level", "--probe", "--version", "-o", "--output")
"""With one of these first the sidecar is meant: so pods of azure-workload-identity start their image's entry point.

The version is the same for all commands, and needs no command line library to be printed.
"""


def main() -> None:
    """Run `wisp` with the arguments of this process and exit with the command's status."""
    arguments = sys.argv[1:]
    if arguments and arguments[0].partition("=")[0] in _SIDECARS_OWN:
        arguments = ["proxy", *arguments]
    if arguments[:1] == ["proxy"]:
        from wisp.proxy.__main__ import main as proxy  # noqa: PLC0415 -- the other branch must not be loaded with it

        sys.exit(proxy(arguments[1:]))
    port = _pods_redirect(arguments)
    if port is not None:
        from wisp.redirect.pod_start import main as redirect  # noqa: PLC0415 -- likewise

        sys.exit(redirect(port))
    try:
        from wisp.cli import main as command_line  # noqa: PLC0415 -- likewise
    except ModuleNotFoundError as missing:
        sys.exit(
            f"error: {missing.name} is not installed, which every command but `wisp proxy` needs\n"
            "hint: pip install 'wisp-proxy[cli]'"
        )
    sys.exit(command_line(arguments))


def _pods_redirect(arguments: list[str]) -> int | None:
    """Return the port of `redirect up --proxy-port=PORT`, which every pod runs at its start; None: something else."""
    if len(arguments) != 3 or arguments[:2] != ["redirect", "up"]:
        return None
    flag, _, port = arguments[2].partition("=")
    return int(port) if flag == "--proxy-port" and port.isascii() and port.isdigit() and len(port) <= 5 else None


if __name__ == "__main__":
    main()
