"""What the story is played on, whichever way it was made: places to run programs in, and where things are."""

from dataclasses import dataclass
from pathlib import Path

from wisp_local.sandbox.modes import Attempt
from wisp_local.sandbox.processes import Place

TOKEN_FILE = Path("var/run/secrets/azure/wi/token/azure-identity-token")
"""Below / in a pod; what the webhook mounts."""
METADATA = "http://169.254.169.254"


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
