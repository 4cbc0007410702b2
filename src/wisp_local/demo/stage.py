"""The stage of the demo: a node and a pod, made of namespaces or on plain loopback, and the applications in the pod.

In namespaces, the mount, network and process namespaces are this process's own (`namespaces.isolated`): nobody else
sees what is made here, and the kernel removes it.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from wisp import SIDECAR_UID
from wisp.base.secret import Secret
from wisp_local.demo import steps
from wisp_local.sandbox.interpreter import in_place, lay_out, this_interpreter
from wisp_local.sandbox.modes import Attempt, Mode
from wisp_local.sandbox.namespaces import APPLICATION_UID, VethPair, as_user, bind, mount_tmpfs, pod_network
from wisp_local.sandbox.processes import (
    END_WITH_PARENT,
    Component,
    ComponentError,
    ProcessContext,
    run,
    running_component,
    tail,
)
from wisp_local.sandbox.sidecar import reserved_port

TOKEN_FILE = Path("var/run/secrets/azure/wi/token/azure-identity-token")
"""Below / in a pod, where the webhook mounts it."""
METADATA = "http://169.254.169.254"
_PROXY_PORT = 8000


@dataclass(frozen=True)
class Stage:
    """Where the demo runs.

    `folder` is private and removed at the end; everyone can read `shared`. The cloud listens on `cloud` (port 0: any),
    the sidecar on `proxy_port`. Applications find the metadata service at the base URL `metadata`.
    """

    attempt: Attempt
    folder: Path
    shared: Path
    token_file: Path
    python: str
    node: ProcessContext
    sidecar: ProcessContext
    application: ProcessContext
    cloud: tuple[str, int]
    proxy_port: int
    metadata: str


@contextlib.contextmanager
def make_stage(attempt: Attempt, folder: Path, environment: Mapping[str, str]) -> Iterator[Stage]:
    """Set up the stage. Only loopback mode uses the private `folder`, and removes it. Raise ToolError or OSError."""
    if attempt.mode is Mode.LOOPBACK:
        with loopback_stage(attempt, folder, environment) as stage:
            yield stage
    else:
        yield namespaced_stage(attempt, environment)


@contextlib.contextmanager
def loopback_stage(attempt: Attempt, folder: Path, environment: Mapping[str, str]) -> Iterator[Stage]:
    """Set up the stage in the private `folder` and on ports of loopback, as one user. Raise OSError."""
    image = in_place(this_interpreter())
    prefix = END_WITH_PARENT if shutil.which("setpriv", path=environment["PATH"]) else ()
    variables = {**environment, **image.environment, "HOME": str(folder), "TMPDIR": str(folder)}
    context = ProcessContext(prefix, variables)
    try:
        with reserved_port() as port:
            yield Stage(
                attempt=attempt,
                folder=folder,
                shared=folder,
                token_file=folder / TOKEN_FILE,
                python=image.python,
                node=context,
                sidecar=context,
                application=context,
                cloud=("127.0.0.1", 0),
                proxy_port=port,
                metadata=f"http://127.0.0.1:{port}",
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # the process that made it may have ended


def namespaced_stage(attempt: Attempt, environment: Mapping[str, str]) -> Stage:
    """Set up folders, image, pod and redirect. Raise ToolError or OSError with the reason that the system gave."""
    for folder in folders_to_cover(Path("/")):
        mount_tmpfs(folder)
    root = Path("/run/wisp")
    private, shared = root / "node", root / "pod"
    root.mkdir()
    private.mkdir(mode=0o700)
    shared.mkdir()
    image = lay_out(this_interpreter(), root / "image", bind)
    variables = {**environment, **image.environment, "HOME": str(shared)}
    node, pair = ProcessContext((), {**variables, "TMPDIR": str(private)}), VethPair()
    pod = pod_network(node, image.python, pair, _PROXY_PORT)
    sidecar, application = (SIDECAR_UID, APPLICATION_UID) if attempt.several_users else (None, None)
    return Stage(
        attempt=attempt,
        folder=private,
        shared=shared,
        token_file=Path("/") / TOKEN_FILE,
        python=image.python,
        node=node,
        sidecar=ProcessContext((*pod.prefix, *as_user(sidecar)), variables, (pod.descriptor,)),
        application=ProcessContext((*pod.prefix, *as_user(application)), variables, (pod.descriptor,)),
        cloud=(pair.node, 8443),
        proxy_port=_PROXY_PORT,
        metadata=METADATA,
    )


def folders_to_cover(root: Path) -> list[Path]:
    """Return where to mount file systems in memory so that /run and /var/run/secrets can be written without a trace."""
    run_folder, var_run = root / "run", root / "var/run"
    if var_run.resolve() == run_folder.resolve():
        return [run_folder]
    return [run_folder, var_run if var_run.is_dir() else var_run.parent]


@dataclass(frozen=True)
class ApplicationToken:
    """The token that an application got, and lines that describe how."""

    access_token: Secret
    lines: list[str]


@dataclass(frozen=True)
class Pod:
    """A pod with a running sidecar, whose containers have the environment variables `injected`."""

    stage: Stage
    injected: Mapping[str, str]
    sidecar: Component

    def describe(self) -> list[str]:
        """Return lines that describe the pod."""
        variables = [f"{name}={value}" for name, value in self.injected.items()]
        address = f"127.0.0.1:{self.stage.proxy_port}"
        several = self.stage.attempt.several_users
        redirected = [f"{METADATA} goes to it (wisp redirect up)"] if self.stage.metadata == METADATA else []
        return [*variables, f"sidecar on {address}, {steps.user_text(SIDECAR_UID if several else None)}", *redirected]

    def ask_by_curl(self) -> ApplicationToken:
        """Ask for a token as the walk-through does. Raise ComponentError if the answer has no token."""
        context, metadata = self.stage.application.with_variables(self.injected), self.stage.metadata
        replaced = run(context, "curl", "--version").status != 0
        replacement = (self.stage.python, "-c", steps.CURL_REPLACEMENT, metadata + steps.TOKEN_PATH)
        result = run(context, *(replacement if replaced else steps.curl_command(metadata)))
        try:
            answer = json.loads(result.output.reveal())
            token = Secret(answer["access_token"])
        except (ValueError, KeyError, TypeError):
            output = tail(f"{result.output.reveal()}\n{result.errors}".strip())
            raise self._failure(f"curl got no token (exit status {result.status})", output) from None
        shown = {**answer, "access_token": steps.abbreviate(token.reveal())}
        command = steps.curl_text(metadata, self._application_uid, replaced=replaced)
        return ApplicationToken(token, [command, *(f"{name}: {value}" for name, value in shown.items())])

    def ask_by_sdk(self) -> ApplicationToken:
        """Ask for a token by azure-identity, without the variables of the webhook. Raise ComponentError."""
        address = None if self.stage.metadata == METADATA else self.stage.metadata
        variables = {} if address is None else {"AZURE_POD_IDENTITY_AUTHORITY_HOST": address}
        context = self.stage.application.with_variables(variables)
        result = run(context, self.stage.python, "-c", steps.SDK_PROGRAM)
        if result.status != 0:
            raise self._failure(f"azure-identity got no token (exit status {result.status})", tail(result.errors))
        token = result.output.reveal().strip()
        lines = steps.sdk_text(self._application_uid, address, steps.abbreviate(token))
        return ApplicationToken(Secret(token), lines)

    @property
    def _application_uid(self) -> int | None:
        return APPLICATION_UID if self.stage.attempt.several_users else None

    def _failure(self, problem: str, output: tuple[str, ...]) -> ComponentError:
        log = (*output, *(f"the sidecar: {line}" for line in self.sidecar.log_tail()))
        return ComponentError(problem, hint="read the output above and docs/tutorials/demo.md", log=log)


@contextlib.contextmanager
def deploy(stage: Stage, injected: Mapping[str, str], assertion: Secret, ca_file: Path) -> Iterator[Pod]:
    """Do what kubelet does: project the token, start the sidecar, and wait until its probe succeeds."""
    project(assertion, stage.token_file, owner=SIDECAR_UID if stage.attempt.several_users else None)
    port = ("--proxy-port", str(stage.proxy_port))
    proxy = (stage.python, "-m", "wisp.proxy")
    context, log = stage.sidecar.with_variables(injected), stage.folder / "sidecar.log"
    command = (*proxy, *port, "--authority-ca", str(ca_file))
    with running_component("the sidecar", context, log, *command) as sidecar:
        probe = run(stage.sidecar, *proxy, "--probe", *port)
        if probe.status != 0:
            raise sidecar.failure("did not become ready", *tail(probe.errors))
        yield Pod(stage, injected, sidecar)


def project(assertion: Secret, token_file: Path, *, owner: int | None) -> None:
    """Write the token so that only `owner` (None: this user) can read it, in folders that everyone can enter."""
    token_file.parent.mkdir(parents=True)
    descriptor = os.open(token_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(assertion.reveal())
    if owner is not None:
        os.chown(token_file, owner, owner)
