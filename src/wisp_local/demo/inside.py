"""`python -m wisp_local.demo.inside`: sets up the stage, runs the steps on it, and reports events to the command.

It ends when the command does, which the kernel reports by the end of standard input.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from wisp.base.errors import WispError
from wisp.base.secret import Secret
from wisp_local.cloud.entra.directory import ManagedIdentity
from wisp_local.demo import events, steps
from wisp_local.demo.azure import REPORT_BUG, VerifiedToken, Verifier, make_azure, start_cloud
from wisp_local.demo.stage import Stage, deploy, make_stage
from wisp_local.sandbox.modes import Attempt, Mode
from wisp_local.sandbox.processes import Component, ComponentError


def main(arguments: list[str]) -> int:
    """Run the demo. `arguments` are the mode, `several` or `one` for users, and the private folder or `-`."""
    mode, users, folder = arguments
    attempt = Attempt(Mode(mode), several_users=users == "several")
    signal.signal(signal.SIGTERM, _stop)
    threading.Thread(target=_stop_with_standard_input, daemon=True).start()
    with contextlib.ExitStack() as stack:
        try:
            stage = stack.enter_context(make_stage(attempt, Path(folder), os.environ))
            cloud = stack.enter_context(start_cloud(stage))
        except WispError as error:
            return _send(events.Impossible(error.problem))
        except OSError as error:
            reason = f"{error.strerror} ({error.filename})" if error.filename else str(error)
            return _send(events.Impossible(reason))
        _send(events.Ready())
        return _run_steps(stage, cloud, stack)


class _StepFailedError(Exception):
    """A step failed, and this has been reported."""


@contextlib.contextmanager
def _step(name: str) -> Iterator[list[str]]:
    """Report a step; the block adds the lines that describe what it did."""
    _send(events.StepStarted(name))
    start, lines = time.monotonic(), list[str]()
    try:
        yield lines
    except WispError as error:
        log = list(error.log) if isinstance(error, ComponentError) else []
        _send(events.StepFailed(name, error.problem, error.hint, log, error.exit_status))
        raise _StepFailedError from error
    _send(events.StepDone(name, round(time.monotonic() - start, 3), lines))


def _run_steps(stage: Stage, cloud: Component, stack: contextlib.ExitStack) -> int:
    """Run the steps in the order of `steps.STEPS`."""
    try:
        with _step("cluster") as lines:
            azure = stack.enter_context(make_azure(stage, cloud))
            lines.extend([f"a local cloud at {azure.url}", f"{steps.CLUSTER}'s issuer: {azure.issuer_url}"])
        with _step("identity") as lines:
            identity = azure.make_identity()
            lines.extend([f"client id {identity.client_id}", identity.resource_id])
        with _step("federated-credential") as lines:
            credential = azure.federate(identity)
            lines.extend([f"issuer   {credential.issuer}", f"subject  {credential.subject}"])
            lines.append(f"audience {credential.audiences[0]}")
        with _step("pod") as lines:
            injected = azure.injected(identity, stage.token_file)
            pod = stack.enter_context(deploy(stage, injected, azure.project_token(), azure.ca_file))
            lines.extend(pod.describe())
        with _step("curl") as lines:
            by_curl = pod.ask_by_curl()
            lines.extend(by_curl.lines)
        with _step("sdk") as lines:
            by_sdk = pod.ask_by_sdk()
            lines.extend(by_sdk.lines)
        with _step("token") as lines:
            verifier = Verifier.published(f"{azure.url}/{identity.tenant_id}/", azure.ca_file)
            verified = _verify(verifier, by_curl.access_token, identity, steps.RESOURCE)
            other = _verify(verifier, by_sdk.access_token, identity, steps.RESOURCE.rstrip("/"))
            lines.extend(steps.verified_text(verified.header["kid"], verifier.keys_url, other.claims["aud"]))
    except _StepFailedError:
        return 1
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the cleanup must not be interrupted
    return _send(events.Finished(by_curl.access_token, verified.header, verified.claims))


def _verify(verifier: Verifier, token: Secret, identity: ManagedIdentity, resource: str) -> VerifiedToken:
    verified = verifier.verify(token, time.time())
    expected = steps.Expected(resource, identity.client_id, identity.principal_id, identity.tenant_id)
    problem = steps.claim_problem(verified.claims, expected)
    if problem is not None:
        raise WispError(problem, hint=REPORT_BUG)
    return verified


def _send(event: events.Event) -> int:
    os.write(1, events.write(event))
    return 0


def _stop(_signal: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(1)


def _stop_with_standard_input() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
