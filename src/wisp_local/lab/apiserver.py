"""Asks a real API server, by kubectl, who issues its service account tokens and with which keys.

kubectl reads a kubeconfig as its owner's own kubectl does, plugins included; the walk-through needs it anyway.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wisp.base.errors import ToolError, WispError
from wisp_local.sandbox.processes import Place, run, tail

_DISCOVERY = "/.well-known/openid-configuration"
_KEYS = "/openid/v1/jwks"
_PATIENCE = 10  # seconds for a request
_TIMEOUT = 60  # seconds with whatever a plugin of the kubeconfig does before


@dataclass(frozen=True)
class Published:
    """What an API server publishes: the issuer of its service account tokens, and its keys (RFC 7517)."""

    issuer_url: str
    key_set: str


@dataclass(frozen=True)
class ApiServer:
    """The API server of the current context in `kubeconfig`; kubectl runs with `environ`."""

    kubeconfig: Path
    environ: Mapping[str, str]

    def published(self) -> Published:
        """Ask for issuer and keys; raises `WispError` saying what is missing or does not answer."""
        document = self.get(_DISCOVERY)
        try:
            issuer_url = json.loads(document)["issuer"]
        except (ValueError, TypeError, KeyError) as error:
            problem = f"the API server of {self.kubeconfig} does not say who issues its tokens"
            raise WispError(problem, hint=f"kubectl get --raw {_DISCOVERY} has to name an issuer") from error
        return Published(str(issuer_url), self.get(_KEYS))

    def get(self, path: str) -> str:
        """Return what the API server answers at `path`."""
        return self.kubectl("get", "--raw", path)

    def kubectl(self, *arguments: str, timeout: float = _TIMEOUT) -> str:
        """Run kubectl and return what it printed; raises `WispError` when it fails."""
        program = shutil.which("kubectl", path=self.environ.get("PATH"))
        if program is None:
            raise ToolError("there is no kubectl on PATH", hint="install it: https://kubernetes.io/docs/tasks/tools/")
        options = (f"--kubeconfig={self.kubeconfig}", f"--request-timeout={_PATIENCE}s")
        done = run(Place((), self.environ), program, *options, *arguments, timeout=timeout)
        if done.status != 0:
            said = " / ".join(tail(done.complaint)[-2:]) or f"kubectl ended with status {done.status}"
            problem = f"`kubectl {' '.join(arguments[:3])}` failed ({said})"
            raise WispError(problem, hint=f"see that it works with {self.kubeconfig}")
        return done.output.reveal()
