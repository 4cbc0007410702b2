"""The kubeconfigs of attached API servers; apart from the store, which need not load a YAML parser."""

from pathlib import Path

from wisp.base.errors import SettingError
from wisp.kubernetes.kubeconfig import Kubeconfig, KubeconfigError, parse_kubeconfig
from wisp_local.cloud.errors import RequestError


def read_kubeconfig(path: Path) -> str:
    """Return the current context of a kubeconfig with the contents of the files it refers to, as YAML.

    Raises `SettingError` for a file that cannot be read and `RequestError` for a file that is not a kubeconfig.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise SettingError(f"cannot read {path} ({reason})", hint="name another file") from error
    config = check_kubeconfig(text)
    try:
        contents = {name: (path.parent / file).read_bytes() for name, file in config.files().items()}
    except OSError as error:
        problem = f"a file that {path} names cannot be read ({error.strerror})"
        raise SettingError(problem, hint="correct the kubeconfig") from error
    return config.flattened(contents).document(cluster="cluster", user="user", context="cluster")


def check_kubeconfig(text: str) -> Kubeconfig:
    """Parse a kubeconfig; raises `RequestError` for a text that is not one."""
    try:
        return parse_kubeconfig(text)
    except KubeconfigError as error:
        problem = f"the kubeconfig cannot be used ({error})"
        raise RequestError(problem, hint="give one that kubectl works with") from None
