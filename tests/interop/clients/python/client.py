"""`client.py MODE RESOURCE_OR_SCOPE [--twice | --challenged]`: a token by azure-identity, msal or msrestazure.

Prints one line of JSON. MODE is one of MODES. --challenged has msal ask again with the claims by which a resource has
rejected the first token (continuous access evaluation), and tells both. Each library is imported when it is asked for:
one's import must not hide another's failure.
"""

import base64
import hashlib
import importlib
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Mapping

Token = tuple[str, int]
"""A token and when it expires, in Unix seconds."""
Ask = Callable[[], Token]

_CHALLENGE = json.dumps({"access_token": {"nbf": {"essential": True, "value": "1"}}})
_VARIABLES = {"client_id": "WISP_CLIENT_ID", "object_id": "WISP_OBJECT_ID", "resource_id": "WISP_RESOURCE_ID"}


class ErrorDictionary(Exception):  # noqa: N818 -- named for what it stands for
    """What msal returned instead of raising an error."""


def selector() -> dict[str, str]:
    """Return the one identity that the environment names, by client_id, object_id or resource_id; or nothing."""
    return {name: os.environ[variable] for name, variable in _VARIABLES.items() if os.environ.get(variable)}


def managed_identity(resource: str) -> Ask:
    """Ask ManagedIdentityCredential of azure-identity."""
    chosen = selector()
    client_id = chosen.pop("client_id", None)
    made = importlib.import_module("azure.identity").ManagedIdentityCredential(
        client_id=client_id, identity_config=chosen or None
    )
    return lambda: _issued(made.get_token(f"{resource}/.default"))


def default(resource: str) -> Ask:
    """Ask DefaultAzureCredential of azure-identity, which can be told a client id and nothing else."""
    chosen = {f"managed_identity_{name}": value for name, value in selector().items()}
    made = importlib.import_module("azure.identity").DefaultAzureCredential(**chosen)
    return lambda: _issued(made.get_token(f"{resource}/.default"))


def token_proxy(resource: str) -> Ask:
    """Use WorkloadIdentityCredential of azure-identity with the token proxy of the cluster."""
    made = importlib.import_module("azure.identity").WorkloadIdentityCredential(enable_azure_proxy=True)
    return lambda: _issued(made.get_token(f"{resource}/.default"))


def msal(resource: str) -> Ask:
    """Ask ManagedIdentityClient of msal, from the second time on with a challenge if that is wanted."""
    challenges = itertools.chain([None], itertools.repeat(_CHALLENGE if "--challenged" in sys.argv else None))
    library, chosen = importlib.import_module("msal"), selector()
    who = library.UserAssignedManagedIdentity(**chosen) if chosen else library.SystemAssignedManagedIdentity()
    made = library.ManagedIdentityClient(
        who,
        http_client=importlib.import_module("requests").Session(),
        client_capabilities=["cp1"] if "--challenged" in sys.argv else None,
    )

    def ask() -> Token:
        answer = made.acquire_token_for_client(resource=resource, claims_challenge=next(challenges))
        if "access_token" not in answer:
            raise ErrorDictionary(json.dumps(answer))
        return answer["access_token"], int(time.time()) + answer["expires_in"]

    return ask


def msrestazure(resource: str) -> Ask:
    """Ask MSIAuthentication of msrestazure, which asks once when it is made and again for every session.

    Without a timeout its twelve tries can take a quarter of an hour.
    """
    chosen = {{"resource_id": "msi_res_id"}.get(name, name): value for name, value in selector().items()}
    library = importlib.import_module("msrestazure.azure_active_directory")
    made = library.MSIAuthentication(resource=resource, timeout=30, **chosen)

    def ask() -> Token:
        made.set_token()
        return made.token["access_token"], int(made.token["expires_on"])

    return ask


MODES: Mapping[str, Callable[[str], Ask]] = {
    "mi": managed_identity,
    "dac": default,
    "token-proxy": token_proxy,
    "msal": msal,
    "msrestazure": msrestazure,
}


def described(token: Token) -> dict[str, object]:
    """Return what may be shown of a token."""
    text, expires_on = token
    payload = text.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    digest = hashlib.sha256(text.encode()).hexdigest()
    return {
        "expires_on": expires_on,
        "token_sha256": digest,
        **{name: claims[name] for name in ("appid", "oid", "aud")},
    }


def run(mode: str, resource: str, *, times: int) -> dict[str, object]:
    """Ask so many times of one credential; return what came of it, and the seconds that each took."""
    seconds: list[float] = []
    start = time.monotonic()
    try:
        ask = MODES[mode](resource)
        answer: dict[str, object] = {}
        for _ in range(times):
            rejected = {"rejected_sha256": answer["token_sha256"]} if "token_sha256" in answer else {}
            answer = {**described(ask()), **rejected}
            seconds.append(time.monotonic() - start)
            start = time.monotonic()
    except Exception as error:  # noqa: BLE001 -- whatever the library says is the result
        text = f"{type(error).__name__}: {error}"
        return {"ok": False, "error": text, "seconds": [*seconds, time.monotonic() - start]}
    return {"ok": True, **answer, "seconds": seconds}


def _issued(token: object) -> Token:
    return token.token, token.expires_on  # type: ignore[attr-defined]  # azure.core.credentials.AccessToken


if __name__ == "__main__":
    mode, resource = sys.argv[1], sys.argv[2].removesuffix("/.default")
    result = run(mode, resource, times=2 if {"--twice", "--challenged"} & set(sys.argv) else 1)
    print(json.dumps(result))  # noqa: T201 -- it is a program
    sys.exit(0 if result["ok"] else 1)
