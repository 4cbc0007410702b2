"""What the story is played on, whichever way it was made: places to run programs in, and where things are."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wisp.lab.modes import Attempt
from wisp.lab.processes import Place

TOKEN_FILE = Path("var/run/secrets/azure/wi/token/azure-identity-token")
"""Below / in a pod; what the webhook mounts."""
METADATA = "http://169.254.169.254"
_SYSTEM_FOLDERS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Scene:
    """Where the story is played.

    `folder` is private and goes when the scene does; `shared` everyone may read. The cloud listens on `cloud` (port 0:
    any), the sidecar on `proxy_port`; applications find the metadata service at the base URL `metadata`.
    """

    attempt: Attempt
    folder: Path
    shared: Path
    token_file: Path
    python: str
    node: Place
    sidecar: Place
    application: Place
    cloud: tuple[str, int]
    proxy_port: int
    metadata: str


def base_environment(user_environment: Mapping[str, str]) -> dict[str, str]:
    """Make the environment of every program of the lab, which takes from the user's own what finds programs.

    Proxies, trust stores, Python's settings and whatever else the user has set stay out.
    """
    path = user_environment.get("PATH")
    libraries = {name: value for name, value in user_environment.items() if name == "LD_LIBRARY_PATH"}
    return {
        "PATH": f"{path}:{_SYSTEM_FOLDERS}" if path else _SYSTEM_FOLDERS,  # a user's PATH is often without /usr/sbin
        "LC_ALL": "C.UTF-8",
        "PYTHONSAFEPATH": "1",
        "PYTHONNOUSERSITE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        **libraries,
    }
