"""Reads the kubeconfig of the API server behind a managed cluster."""

import base64
from pathlib import Path

from wisp.base.errors import SettingError
from wisp_local.cloud.arm import kubeconfig as kubeconfigs


def whole_kubeconfig(path: Path) -> str:
    """Read a kubeconfig with the files it leans on: the cloud gives it to whoever asks, elsewhere.

    Raises `SettingError` for a file that cannot be read and `RequestError` for what is no kubeconfig.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise SettingError(f"cannot read {path} ({reason})", hint="name another file") from error
    try:
        contents = {
            name: base64.b64encode((path.parent / file).read_bytes()).decode()
            for name, file in kubeconfigs.files(text).items()
        }
    except OSError as error:
        problem = f"a file that {path} names cannot be read ({error.strerror})"
        raise SettingError(problem, hint="correct the kubeconfig") from error
    return kubeconfigs.whole(text, contents)
