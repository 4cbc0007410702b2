"""The lab's inside: sets the scene, plays the story on it, tells the outside; ends when the outside does."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType

from wisp.base.errors import WispError
from wisp.base.secret import Secret
from wisp_local.cloud.entra.directory import ManagedIdentity
from wisp_local.demo import events, story
from wisp_local.demo.azure import make_azure, start_cloud
from wisp_local.demo.claims import Promise, fault
from wisp_local.demo.namespaced import namespaced_scene
from wisp_local.demo.plain import plain_scene
from wisp_local.demo.pod import deploy
from wisp_local.demo.scene import Scene
from wisp_local.demo.verify import Verified, Verifier
from wisp_local.sandbox.modes import Attempt, Mode
from wisp_local.sandbox.processes import Component, FailedError


def main(arguments: list[str]) -> int:
    """Play the story; `arguments` are the mode, `several` or `one` for users, and the private folder or `-`."""
    mode, users, folder = arguments
    attempt = Attempt(Mode(mode), several_users=users == "several")
    signal.signal(signal.SIGTERM, _stop)
    threading.Thread(target=_stop_with_standard_input, daemon=True).start()
    with contextlib.ExitStack() as stack:
        try:
            scene = stack.enter_context(_scene(attempt, Path(folder), os.environ))
            serving = stack.enter_context(start_cloud(scene))
        except WispError as error:
            return _tell(events.Impossible(error.problem))
        except OSError as error:
            return _tell(events.Impossible(f"{error.strerror} ({error.filename})" if error.filename else str(error)))
        _tell(events.Ready())
        return _play(scene, serving, stack)


@contextlib.contextmanager
def _scene(attempt: Attempt, folder: Path, environment: Mapping[str, str]) -> Iterator[Scene]:
    if attempt.mode is Mode.LOOPBACK:
        with plain_scene(attempt, folder, environment) as scene:
            yield scene
    else:
        yield namespaced_scene(attempt, environment)


class _StepFailedError(Exception):
    """A step failed, and the outside has been told."""


@contextlib.contextmanager
def _step(name: str) -> Iterator[list[str]]:
    """Tell the outside of a step; the block adds what there is to say about it."""
    _tell(events.Begun(name))
    begun, here = time.monotonic(), list[str]()
    try:
        yield here
    except WispError as error:
        log = list(error.log) if isinstance(error, FailedError) else []
        _tell(events.Failed(name, error.problem, error.hint, log, error.exit_status))
        raise _StepFailedError from error
    _tell(events.Done(name, round(time.monotonic() - begun, 3), here))


def _play(scene: Scene, serving: Component, stack: contextlib.ExitStack) -> int:
    """Play the steps, in the order of `story.STEPS`."""
    try:
        with _step("cluster") as here:
            azure = stack.enter_context(make_azure(scene, serving))
            here.extend([f"a local cloud at {azure.url}", f"{story.CLUSTER}'s issuer: {azure.issuer_url}"])
        with _step("identity") as here:
            identity = azure.make_identity()
            here.extend([f"client id {identity.client_id}", identity.resource_id])
        with _step("federated-credential") as here:
            credential = azure.federate(identity)
            here.extend((f"issuer   {credential.issuer}", f"subject  {credential.subject}"))
            here.append(f"audience {credential.audiences[0]}")
        with _step("pod") as here:
            injected = azure.injected(identity, scene.token_file)
            pod = stack.enter_context(deploy(scene, injected, azure.project_token(), azure.ca_file))
            here.extend(pod.said)
        with _step("curl") as here:
            by_curl = pod.curl()
            here.extend(by_curl.said)
        with _step("sdk") as here:
            by_sdk = pod.ask_by_sdk()
            here.extend(by_sdk.said)
        with _step("token") as here:
            verifier = Verifier.published(f"{azure.url}/{identity.tenant_id}/", azure.ca_file)
            verified = _verified(verifier, by_curl.access_token, identity, story.RESOURCE)
            other = _verified(verifier, by_sdk.access_token, identity, story.RESOURCE.rstrip("/"))
            here.extend(story.told_verified(verified.header["kid"], verifier.keys_url, other.claims["aud"]))
    except _StepFailedError:
        return 1
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what is being taken down is not to be interrupted
    return _tell(events.Finished(by_curl.access_token, verified.header, verified.claims))


def _verified(verifier: Verifier, token: Secret, identity: ManagedIdentity, resource: str) -> Verified:
    verified = verifier.verify(token, time.time())
    promise = Promise(resource, identity.client_id, identity.principal_id, identity.tenant_id)
    wrong = fault(verified.claims, promise)
    if wrong is not None:
        raise WispError(wrong, hint="report it: wisp is wrong")
    return verified


def _tell(event: events.Event) -> int:
    os.write(1, events.write(event))
    return 0


def _stop(_signal: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(1)


def _stop_with_standard_input() -> None:
    """Wait for the outside to end or to let go, which the kernel tells by the end of standard input."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
