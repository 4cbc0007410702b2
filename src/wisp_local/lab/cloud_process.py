"""The lab's cloud as a process that outlives the command: started, asked whether it answers, stopped."""

import json
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import urllib3
from msgspec.structs import replace

from wisp.base.errors import SettingError, ToolError
from wisp_local.cloud.serving import base_url, listen
from wisp_local.lab.paths import LabPaths
from wisp_local.lab.record import LOOPBACK, CloudProcess, ListenOptions
from wisp_local.sandbox.interpreter import in_place, this_interpreter
from wisp_local.sandbox.processes import (
    Component,
    ProcessContext,
    ProcessIdentity,
    base_environment,
    find_process,
    open_log,
    spawn,
)

_START_TIMEOUT = 30.0  # seconds to listen, on a busy machine
_STOP_TIMEOUT = 5.0  # seconds to end after SIGTERM; requests in flight have two
_REQUEST_TIMEOUT = urllib3.Timeout(connect=2.0, read=3.0)  # seconds
_TRUST_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")  # for issuers on other machines
_LOG_LIMIT = 8 * 1024 * 1024  # bytes; a longer log is renamed at the next start


def require_free(listening: ListenOptions) -> None:
    """Raise SettingError if the cloud could not listen: a better error than the end of its log."""
    for host in listening.hosts:
        try:
            listen(host, listening.port).close()
        except SettingError as error:
            hint = "choose another --host or --port; --port 0 takes a free one, and the lab keeps it"
            raise SettingError(error.problem, hint=hint) from error


def start(paths: LabPaths, listening: ListenOptions, environ: Mapping[str, str]) -> tuple[Component, CloudProcess]:
    """Start the cloud in a session of its own; it does not listen yet. Raise ToolError."""
    image = in_place(this_interpreter())
    options = [f"--host={host}" for host in listening.hosts] + [f"--advertise={name}" for name in listening.advertise]
    command = (image.python, "-m", "wisp", "cloud", "serve", f"--state={paths.state}", f"--port={listening.port}")
    trust = {name: environ[name] for name in _TRUST_VARIABLES if name in environ}
    with _open_log(paths.log) as log:
        context = ProcessContext((), {**base_environment(environ), **image.environment, **trust})
        started = spawn(context, *command, *options, stderr=log, folder=Path("/"))
    component, process = Component("the local cloud", started, paths.log), find_process(started.pid)
    if process is None:
        started.wait()
        raise component.failure("did not start")
    return component, CloudProcess(process.pid, process.started, time.time(), listening)


def wait_until_listening(component: Component, cloud: CloudProcess) -> CloudProcess:
    """Wait until the cloud listens, and return it with its port and URLs. Raise ComponentError after it has ended."""
    try:
        ready = json.loads(component.first_line(_START_TIMEOUT))
    except BaseException:
        component.stop(_STOP_TIMEOUT)
        raise
    component.detach()
    listening = replace(cloud.listening, port=urlsplit(ready["url"]).port or 443)
    return replace(cloud, listening=listening, url=ready["url"], page=ready.get("page"))


def is_running(cloud: CloudProcess) -> bool:
    """Tell whether the cloud still runs."""
    return ProcessIdentity(cloud.pid, cloud.started).is_running()


def stop(cloud: CloudProcess) -> None:
    """End the cloud and wait for its end. Raise ToolError."""
    process = ProcessIdentity(cloud.pid, cloud.started)
    if not process.stop(signal.SIGTERM, _STOP_TIMEOUT) and not process.stop(signal.SIGKILL, _STOP_TIMEOUT):
        problem = f"the local cloud (process {cloud.pid}) does not end"
        raise ToolError(problem, hint="see why the kernel cannot end it")


def local_url(listening: ListenOptions) -> str:
    """Return the cloud's URL on this machine."""
    return base_url(LOOPBACK, listening.port)


def answers(paths: LabPaths, cloud: CloudProcess) -> bool:
    """Tell whether the cloud answers, with a certificate of its own CA."""
    try:
        with urllib3.PoolManager(ca_certs=str(paths.authority), timeout=_REQUEST_TIMEOUT, retries=False) as pool:
            answer = pool.request("GET", f"{local_url(cloud.listening)}/healthz")
            return bool(answer.status == 200)
    except (urllib3.exceptions.HTTPError, OSError):
        return False


def _open_log(path: Path) -> IO[bytes]:
    """Open the log to append to it. A long one is renamed, and replaces the one that was renamed before."""
    if path.exists() and path.stat().st_size > _LOG_LIMIT:
        path.replace(path.with_name(f"{path.name}.1"))
    return open_log(path)
