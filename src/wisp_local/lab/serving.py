"""The lab's cloud as a process that outlives the command: started, asked whether it answers, ended."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import urllib3

from wisp.base.errors import SettingError, ToolError
from wisp_local.cloud.serving import base_url, listen
from wisp_local.lab.places import Places
from wisp_local.lab.record import LOOPBACK, Cloud, Listening
from wisp_local.sandbox.image import in_place, this_interpreter
from wisp_local.sandbox.lasting import Lasting, lasting
from wisp_local.sandbox.processes import Component, base_environment

_START = 30.0  # seconds to listen, on a busy machine
_GRACE = 5.0  # seconds to end after SIGTERM; requests in flight have two
_ASK = urllib3.Timeout(connect=2.0, read=3.0)  # seconds
_TRUST = ("SSL_CERT_FILE", "SSL_CERT_DIR")  # for issuers elsewhere
_LOG_LIMIT = 8 * 1024 * 1024  # bytes; a longer log is put aside at the next start


def must_be_free(listening: Listening) -> None:
    """Raise `SettingError` where the cloud could not listen: whoever reads it wants to know that, and not a log."""
    for host in listening.hosts:
        try:
            listen(host, listening.port).close()
        except SettingError as error:
            hint = "choose another --host or --port; --port 0 takes a free one, and the lab keeps it"
            raise SettingError(error.problem, hint=hint) from error


def start(places: Places, listening: Listening, environ: Mapping[str, str]) -> tuple[Component, Cloud]:
    """Start the cloud in a session of its own; it does not listen yet. Raises `ToolError`."""
    image = in_place(this_interpreter())
    options = [f"--host={each}" for each in listening.hosts] + [f"--advertise={each}" for each in listening.advertise]
    command = (image.python, "-m", "wisp", "cloud", "serve", f"--state={places.state}", f"--port={listening.port}")
    trust = {name: environ[name] for name in _TRUST if name in environ}
    with _log(places.log) as log:
        started = subprocess.Popen(
            [*command, *options],
            cwd="/",
            env={**base_environment(environ), **image.environment, **trust},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    component, found = Component("the local cloud", started, places.log), lasting(started.pid)
    if found is None:
        started.wait()
        raise component.failure("did not start")
    return component, Cloud(found.pid, found.started, time.time(), listening)


def listened(component: Component, cloud: Cloud) -> Cloud:
    """Wait until it listens, and return it as it does; raises `FailedError` when it does not, and it has ended then."""
    try:
        said = json.loads(component.first_line(_START))
    except BaseException:
        component.end(_GRACE)
        raise
    component.let_go()
    port = urlsplit(said["url"]).port or 443
    listening = Listening(cloud.listening.hosts, port, cloud.listening.advertise)
    return Cloud(cloud.pid, cloud.started, cloud.since, listening, said["url"], said.get("page"))


def is_running(cloud: Cloud | None) -> bool:
    """Tell whether the cloud that was started still runs."""
    return cloud is not None and Lasting(cloud.pid, cloud.started).is_running()


def end(cloud: Cloud) -> None:
    """End it and wait for that; raises `ToolError` when it does not."""
    process = Lasting(cloud.pid, cloud.started)
    if not process.end(signal.SIGTERM, _GRACE) and not process.end(signal.SIGKILL, _GRACE):
        problem = f"the local cloud (process {cloud.pid}) does not end"
        raise ToolError(problem, hint="see why the kernel cannot end it")


def local_url(listening: Listening) -> str:
    """Return the URL by which this machine reaches the cloud."""
    return base_url(LOOPBACK, listening.port)


def answers(places: Places, cloud: Cloud) -> bool:
    """Tell whether the cloud answers, by the certificate of its own CA."""
    try:
        with urllib3.PoolManager(ca_certs=str(places.authority), timeout=_ASK, retries=False) as pool:
            answer = pool.request("GET", f"{local_url(cloud.listening)}/healthz")
            return bool(answer.status == 200)
    except (urllib3.exceptions.HTTPError, OSError):
        return False


def _log(path: Path) -> BinaryIO:
    """Open the log to go on with it; one that has become long is put aside, in the place of the one before."""
    if path.exists() and path.stat().st_size > _LOG_LIMIT:
        path.replace(path.with_name(f"{path.name}.1"))
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb")
