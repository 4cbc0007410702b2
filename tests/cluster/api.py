"""The API server, asked without kubectl between: for what has to be quick, or to go on while it is away."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import urllib3

from tests.cluster.site import Site

NO_ANSWER = 0
"""The status of what the API server did not answer."""
_PATIENCE = 15.0  # seconds; the API server gives a webhook ten
_TYPES = {"PATCH": "application/merge-patch+json"}


class Answer(NamedTuple):
    """An HTTP status, and an object or a Status that says why not."""

    status: int
    document: dict[str, Any]

    @property
    def message(self) -> str:
        """Why it was refused."""
        return str(self.document.get("message", ""))


class Api:
    """The API server as its administrator sees it."""

    def __init__(self, pool: urllib3.PoolManager, url: str) -> None:
        self._pool = pool
        self._url = url

    def ask(self, method: str, path: str, body: object = None) -> Answer:
        """Send a request and return what comes of it, which may be no answer."""
        headers = {"Content-Type": _TYPES.get(method, "application/json")}
        data = None if body is None else json.dumps(body)
        try:
            answer = self._pool.request(method, self._url + path, body=data, headers=headers)
            return Answer(answer.status, json.loads(answer.data))
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            return Answer(NO_ANSWER, {"message": str(error)})


@contextmanager
def api(site: Site) -> Iterator[Api]:
    """Keep connections to the API server until the block ends."""
    pki = site.node.layout.pki
    with urllib3.PoolManager(
        ca_certs=str(pki / "ca.crt"),
        cert_file=str(pki / "admin.crt"),
        key_file=str(pki / "admin.key"),
        retries=False,
        timeout=_PATIENCE,
    ) as pool:
        yield Api(pool, site.node.network.api_server)
