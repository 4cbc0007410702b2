"""Reads the kubeconfig of the API server behind a managed cluster."""

from pathlib import Path

from wisp.base.errors import SettingError
from wisp.kubernetes.kubeconfig import Kubeconfig, KubeconfigError, parse_kubeconfig
from wisp_local.cloud.errors import RequestError


def whole_kubeconfig(path: Path) -> str:
    """Return the current context of a kubeconfig with the contents of the files it refers to, as YAML.

    Raises `SettingError` for a file that cannot be read and `RequestError` for a file that is not a kubeconfig.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise SettingError(f"cannot read {path} ({reason})", hint="name another file") from error
    config = usable_kubeconfig(text)
    try:
        contents = {name: (path.parent / file).read_bytes() for name, file in config.files().items()}
    except OSError as error:
        problem = f"a file that {path} names cannot be read ({error.strerror})"
        raise SettingError(problem, hint="correct the kubeconfig") from error
    return config.flattened(contents).document(cluster="cluster", user="user", context="cluster")


def usable_kubeconfig(text: str) -> Kubeconfig:
    """Parse a kubeconfig. Raise `RequestError`."""
    try:
        return parse_kubeconfig(text)
    except KubeconfigError as error:
        raise RequestError(
            f"the kubeconfig cannot be used ({error})", hint="give one that kubectl works with"
        ) from None
