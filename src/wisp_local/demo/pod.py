"""The lab's pod: the projected token, the sidecar, and applications that ask for tokens."""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from wisp import SIDECAR_UID
from wisp.base.secret import Secret
from wisp_local.demo import story
from wisp_local.demo.claims import abbreviated
from wisp_local.demo.scene import METADATA, Scene
from wisp_local.sandbox.processes import Component, FailedError, run, tail
from wisp_local.sandbox.processes import beside as run_beside
from wisp_local.sandbox.users import APPLICATION_UID


@dataclass(frozen=True)
class Answer:
    """What an application got: the token, and what there is to say about it."""

    access_token: Secret
    said: list[str]


@dataclass(frozen=True)
class Pod:
    """A pod whose containers have the variables `injected`."""

    scene: Scene
    injected: Mapping[str, str]
    sidecar: Component

    @property
    def said(self) -> list[str]:
        """What there is to say about it."""
        variables = [f"{name}={value}" for name, value in self.injected.items()]
        address = f"127.0.0.1:{self.scene.proxy_port}"
        several = self.scene.attempt.several_users
        redirected = [f"{METADATA} goes to it (wisp redirect up)"] if self.scene.metadata == METADATA else []
        return [*variables, f"sidecar on {address}, {story.who(SIDECAR_UID if several else None)}", *redirected]

    def curl(self) -> Answer:
        """Ask as the walk-through does; raises FailedError when there is no token in the answer."""
        place = self.scene.application.having(self.injected)
        replaced = run(place, "curl", "--version").status != 0
        url = self.scene.metadata + story.TOKEN_PATH
        replacement = (self.scene.python, "-c", story.CURL_REPLACEMENT, url)
        done = run(place, *(replacement if replaced else story.curl_command(self.scene.metadata)))
        try:
            answer = json.loads(done.output.reveal())
            token = Secret(answer["access_token"])
        except (ValueError, KeyError, TypeError):
            said = tail(f"{done.output.reveal()}\n{done.complaint}".strip())
            raise self._failure(f"curl got no token (exit status {done.status})", said) from None
        shown = {**answer, "access_token": abbreviated(token.reveal())}
        command = story.told_curl(self.scene.metadata, self._application, replaced=replaced)
        return Answer(token, [command, *(f"{name}: {value}" for name, value in shown.items())])

    def ask_by_sdk(self) -> Answer:
        """Ask by azure-identity, which the webhook's variables would lead elsewhere; raises FailedError."""
        address = None if self.scene.metadata == METADATA else self.scene.metadata
        told = {} if address is None else {"AZURE_POD_IDENTITY_AUTHORITY_HOST": address}
        done = run(self.scene.application.having(told), self.scene.python, "-c", story.SDK_PROGRAM)
        if done.status != 0:
            raise self._failure(f"azure-identity got no token (exit status {done.status})", tail(done.complaint))
        token = done.output.reveal().strip()
        return Answer(Secret(token), story.told_sdk(self._application, address, abbreviated(token)))

    @property
    def _application(self) -> int | None:
        return APPLICATION_UID if self.scene.attempt.several_users else None

    def _failure(self, what: str, said: tuple[str, ...]) -> FailedError:
        log = (*said, *(f"the sidecar: {line}" for line in self.sidecar.log_tail()))
        return FailedError(what, hint="read the output above and docs/tutorials/demo.md", log=log)


@contextlib.contextmanager
def deploy(scene: Scene, injected: Mapping[str, str], assertion: Secret, ca_file: Path) -> Iterator[Pod]:
    """Do what kubelet does: project the token, start the sidecar, and wait until its probe says ready."""
    project(assertion, scene.token_file, owner=SIDECAR_UID if scene.attempt.several_users else None)
    port = ("--proxy-port", str(scene.proxy_port))
    proxy = (scene.python, "-m", "wisp.proxy")
    command = (*proxy, *port, "--authority-ca", str(ca_file))
    with run_beside("the sidecar", scene.sidecar.having(injected), scene.folder / "sidecar.log", *command) as sidecar:
        probe = run(scene.sidecar, *proxy, "--probe", *port)
        if probe.status != 0:
            raise sidecar.failure("did not become ready", *tail(probe.complaint))
        yield Pod(scene, injected, sidecar)


def project(assertion: Secret, token_file: Path, *, owner: int | None) -> None:
    """Write the token for `owner` alone (None: for ourselves), in folders that all may enter."""
    token_file.parent.mkdir(parents=True)
    descriptor = os.open(token_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(assertion.reveal())
    if owner is not None:
        os.chown(token_file, owner, owner)
