"""Sets the scene in namespaces: this process is in a node's already, and makes the pod's.

The mount, network and process namespaces are this process's own (`sandbox.launching`), so whatever is made here is
seen by nobody else, and the kernel takes it away.
"""

from collections.abc import Mapping
from pathlib import Path

from wisp import SIDECAR_UID
from wisp_local.demo.scene import METADATA, TOKEN_FILE, Scene
from wisp_local.sandbox.image import lay_out, this_interpreter
from wisp_local.sandbox.modes import Attempt
from wisp_local.sandbox.mounts import bind, mount_tmpfs
from wisp_local.sandbox.netns import Wiring
from wisp_local.sandbox.podnet import pod_network
from wisp_local.sandbox.processes import Place
from wisp_local.sandbox.users import APPLICATION_UID, become

_WIRING = Wiring()
_PROXY_PORT = 8000


def namespaced_scene(attempt: Attempt, environment: Mapping[str, str]) -> Scene:
    """Make folders, image, pod and redirect; raises ToolError or OSError with the words of what refused."""
    folder, shared = _make_folders()
    image = lay_out(this_interpreter(), shared.parent / "image", bind)
    everyone = {**environment, **image.environment, "HOME": str(shared)}
    node = Place((), {**everyone, "TMPDIR": str(folder)})
    pod = pod_network(node, image.python, _WIRING, _PROXY_PORT)
    sidecar, application = (SIDECAR_UID, APPLICATION_UID) if attempt.several_users else (None, None)
    return Scene(
        attempt=attempt,
        folder=folder,
        shared=shared,
        token_file=Path("/") / TOKEN_FILE,
        python=image.python,
        node=node,
        sidecar=Place((*pod.prefix, *become(sidecar)), everyone, (pod.descriptor,)),
        application=Place((*pod.prefix, *become(application)), everyone, (pod.descriptor,)),
        cloud=(_WIRING.node, 8443),
        proxy_port=_PROXY_PORT,
        metadata=METADATA,
    )


def _make_folders() -> tuple[Path, Path]:
    for folder in folders_to_cover(Path("/")):
        mount_tmpfs(folder)
    root = Path("/run/wisp")
    root.mkdir()
    private, shared = root / "node", root / "pod"
    private.mkdir(mode=0o700)
    shared.mkdir()
    return private, shared


def folders_to_cover(root: Path) -> list[Path]:
    """Say what hides behind memory so that /run and /var/run/secrets can be written without a trace."""
    own, other = root / "run", root / "var/run"
    if other.resolve() == own.resolve():
        return [own]
    return [own, other if other.is_dir() else other.parent]
