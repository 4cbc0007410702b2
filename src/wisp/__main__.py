"""The `wisp` command. The sidecar starts without the command line library, which needs more memory than the sidecar."""

import sys

_SIDECAR_OPTIONS = ("--proxy-port", "--log-level", "--probe", "--version", "-o", "--output")
"""The first argument of pods that azure-workload-identity injects: they start the sidecar without `proxy`.

`--version` is here because it needs no command line library.
"""


def main() -> None:
    """Run `wisp` with the arguments of this process and exit with the command's status."""
    arguments = sys.argv[1:]
    if arguments and arguments[0].partition("=")[0] in _SIDECAR_OPTIONS:
        arguments = ["proxy", *arguments]
    if arguments[:1] == ["proxy"]:
        from wisp.proxy.__main__ import main as proxy  # noqa: PLC0415 -- only one branch is loaded

        sys.exit(proxy(arguments[1:]))
    port = _pod_redirect_port(arguments)
    if port is not None:
        from wisp.redirect.pod_start import main as redirect  # noqa: PLC0415 -- the same

        sys.exit(redirect(port))
    try:
        from wisp.cli import main as command_line  # noqa: PLC0415 -- the same
    except ModuleNotFoundError as missing:
        sys.exit(
            f"error: {missing.name} is not installed, which every command but `wisp proxy` needs\n"
            "hint: pip install 'wisp-proxy[cli]'"
        )
    sys.exit(command_line(arguments))


def _pod_redirect_port(arguments: list[str]) -> int | None:
    """Return the port of `redirect up --proxy-port=PORT`, which every pod runs at its start; None for anything else."""
    if len(arguments) != 3 or arguments[:2] != ["redirect", "up"]:
        return None
    flag, _, port = arguments[2].partition("=")
    return int(port) if flag == "--proxy-port" and port.isascii() and port.isdigit() and len(port) <= 5 else None


if __name__ == "__main__":
    main()
