"""`client.py cli RESOURCE_OR_SCOPE [--twice]`: `az login --identity`, then `az account get-access-token`.

Prints one line of JSON. HOME has to be a folder of its own. `az login` lists the subscriptions that the identity can
see, so WISP_RESOURCE_MANAGER has to be the https URL of a Resource Manager.
"""

import base64
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

_FLAGS = {"WISP_CLIENT_ID": "--client-id", "WISP_OBJECT_ID": "--object-id", "WISP_RESOURCE_ID": "--resource-id"}
_CLOUD = """\
[wisp]
endpoint_resource_manager = {manager}
endpoint_management = https://management.core.windows.net/
endpoint_active_directory = {manager}
endpoint_active_directory_resource_id = https://management.core.windows.net/
"""
_SETTINGS = """\
[cloud]
name = wisp
[core]
collect_telemetry = no
survey_message = no
[auto-upgrade]
enable = no
"""


class AzError(Exception):
    """`az` ended with an error; the text is what it printed."""


def az(*arguments: str) -> str:
    """Run `az` and return what it printed."""
    command = [sys.executable, "-m", "azure.cli", *arguments]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    if done.returncode != 0:
        raise AzError(" ".join(done.stderr.split()))
    return done.stdout


def configure(folder: Path, manager: str) -> None:
    """Write the configuration that `az cloud register` and `az config set` would."""
    folder.mkdir()
    (folder / "clouds.config").write_text(_CLOUD.format(manager=manager), encoding="utf-8")
    (folder / "config").write_text(_SETTINGS, encoding="utf-8")


def log_in() -> None:
    """Log in as the identity that the environment names."""
    chosen = [part for name, flag in _FLAGS.items() if os.environ.get(name) for part in (flag, os.environ[name])]
    az("login", "--identity", "--allow-no-subscriptions", *chosen)


def token(resource: str) -> dict[str, object]:
    """Return what may be shown of the token that `az` gives."""
    got = json.loads(az("account", "get-access-token", "--resource", resource))
    payload = got["accessToken"].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    digest = hashlib.sha256(got["accessToken"].encode()).hexdigest()
    shown = {name: claims[name] for name in ("appid", "oid", "aud")}
    return {"expires_on": int(got["expires_on"]), "token_sha256": digest, **shown}


def run(resource: str, *, times: int) -> dict[str, object]:
    """Log in and ask so many times; the seconds of the first time are with the login."""
    seconds: list[float] = []
    start = time.monotonic()
    answer: dict[str, object] = {}
    try:
        configure(Path.home() / ".azure", os.environ["WISP_RESOURCE_MANAGER"])
        log_in()
        for _ in range(times):
            answer = token(resource)
            seconds.append(time.monotonic() - start)
            start = time.monotonic()
    except AzError as error:
        return {"ok": False, "error": str(error), "seconds": [*seconds, time.monotonic() - start]}
    return {"ok": True, **answer, "seconds": seconds}


if __name__ == "__main__":
    result = run(sys.argv[2].removesuffix("/.default"), times=2 if "--twice" in sys.argv else 1)
    print(json.dumps(result))  # noqa: T201 -- it is a program
    sys.exit(0 if result["ok"] else 1)
