"""The API server, asked without kubectl between: for what has to be quick, or to go on while it is away."""

import http.client
import json
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

from tests.cluster.site import Site
from wisp.lab.cluster.network import API_PORT

NO_ANSWER = 0
"""The status of what the API server did not answer."""
_PATIENCE = 120.0  # seconds; it only guards against hanging
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
    """The API server as its administrator sees it, by one connection, made anew when it breaks."""

    def __init__(self, connection: http.client.HTTPSConnection) -> None:
        self._connection = connection

    def ask(self, method: str, path: str, body: object = None) -> Answer:
        """Send a request and return what comes of it, which may be no answer."""
        headers = {"Content-Type": _TYPES.get(method, "application/json")}
        try:
            self._connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = self._connection.getresponse()
            return Answer(answer.status, json.loads(answer.read()))
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._connection.close()
            return Answer(NO_ANSWER, {"message": str(error)})


@contextmanager
def api(site: Site) -> Iterator[Api]:
    """Keep a connection to the API server until the block ends."""
    pki, network = site.node.layout.pki, site.node.network
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
    with closing(http.client.HTTPSConnection(network.node, API_PORT, context=context, timeout=_PATIENCE)) as made:
        yield Api(made)
