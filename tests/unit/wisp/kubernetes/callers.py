"""The service accounts, pods and grants that the small API server reviews."""

import itertools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from tests.support.fakes import jwt

AUDIENCE = "api://AKSIdentityBinding"
ISSUER = "https://issuer.example/"
TERMINATING = 60.0
"""Seconds after its pod's deletion time until which a token is accepted (pkg/serviceaccount/claims.go)."""
_numbers = itertools.count(1)


class Pod(NamedTuple):
    """A pod with a service account."""

    namespace: str
    service_account: str
    name: str
    uid: str
    node: str = "node-1"

    @property
    def username(self) -> str:
        """The name of its service account's user."""
        return f"system:serviceaccount:{self.namespace}:{self.service_account}"

    @property
    def groups(self) -> list[str]:
        """The groups of its service account."""
        return ["system:serviceaccounts", f"system:serviceaccounts:{self.namespace}", "system:authenticated"]


class Callers:
    """What TokenReviews and SubjectAccessReviews are answered from. `clock` gives Unix seconds."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._tokens: dict[str, tuple[Pod, str, float]] = {}
        self.deleted: dict[str, float] = {}
        """Deletion times of pods, and of service accounts, by uid or user name."""
        self.grants: set[tuple[str, str]] = set()
        """Client ids with the users and groups that may use them."""
        self.latency = 0.0
        """Seconds that a review takes."""
        self.ready = True
        """What /readyz says."""

    def pod(self, namespace: str = "default", service_account: str = "web", *, granted: str = "") -> Pod:
        """Return a new pod, whose service account may use the identity `granted`."""
        number = next(_numbers)
        pod = Pod(namespace, service_account, f"{service_account}-{number}", f"00000000-0000-4000-8000-{number:012}")
        if granted:
            self.grants.add((granted, pod.username))
        return pod

    def token(self, pod: Pod, *, audience: str = AUDIENCE, seconds: float = 3600.0) -> str:
        """Issue a token that is bound to a pod."""
        now = self._clock()
        bound = {"pod": {"name": pod.name, "uid": pod.uid}, "namespace": pod.namespace}
        token = jwt(
            iss=ISSUER,
            sub=pod.username,
            aud=[audience],
            iat=int(now),
            nbf=int(now),
            exp=now + seconds,
            jti=str(next(_numbers)),
            **{"kubernetes.io": bound},
        )
        self.accept(token, pod, audience=audience, seconds=seconds)
        return token

    def accept(self, token: str, pod: Pod, *, audience: str = AUDIENCE, seconds: float = 3600.0) -> None:
        """Accept a token as that of a pod."""
        self._tokens[token] = (pod, audience, self._clock() + seconds)

    def review_token(self, spec: dict[str, Any]) -> dict[str, Any]:
        """Return the status of a TokenReview."""
        found = self._tokens.get(spec["token"])
        if found is None:
            return {"error": "[invalid bearer token, unknown signature]", "user": {}}
        pod, audience, expires = found
        now = self._clock()
        gone = min(self.deleted.get(pod.uid, now), self.deleted.get(pod.username, now))
        if now >= expires or now >= gone + TERMINATING:
            return {"error": "[invalid bearer token, service account token has been invalidated]", "user": {}}
        if audience not in spec["audiences"]:
            return {"error": f"[invalid bearer token, token audiences {[audience]} is invalid]", "user": {}}
        extra = {"pod-name": [pod.name], "pod-uid": [pod.uid], "node-name": [pod.node], "credential-id": ["JTI=1"]}
        user = {
            "username": pod.username,
            "uid": f"uid-of-{pod.service_account}",
            "groups": pod.groups,
            "extra": {f"authentication.kubernetes.io/{name}": values for name, values in extra.items()},
        }
        return {"authenticated": True, "audiences": [audience], "user": user}

    def review_access(self, spec: dict[str, Any]) -> dict[str, Any]:
        """Return the status of a SubjectAccessReview."""
        attributes = spec["resourceAttributes"]
        assert (attributes["verb"], attributes["group"]) == ("use-managed-identity", "cid.wi.aks.azure.com"), attributes
        names = [spec["user"], *spec["groups"]]
        return {"allowed": any((attributes["resource"], name) in self.grants for name in names)}
