"""The API server without kubectl: for requests that have to be fast, or go on while it does not run."""

import http.client
import json
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

from tests.cluster.cluster import Cluster
from wisp_local.lab.node.network import API_PORT

NO_ANSWER = 0
"""The status of a request without an answer."""
_PATIENCE = 120.0  # seconds; it only guards against hanging
_JSON = "application/json"
_PATCHES: dict[type, str] = {dict: "application/merge-patch+json", list: "application/json-patch+json"}


class Answer(NamedTuple):
    """An HTTP status, and an object or a Status with the error."""

    status: int
    document: dict[str, Any]

    @property
    def message(self) -> str:
        """The error message."""
        return str(self.document.get("message", ""))


class Api:
    """A connection to the API server, as the administrator or with a token; it is opened again when it breaks."""

    def __init__(self, connection: http.client.HTTPSConnection, token: str = "") -> None:
        self._connection = connection
        self._authorization = {"Authorization": f"Bearer {token}"} if token else {}

    def ask(self, method: str, path: str, body: object = None) -> Answer:
        """Send a request and return the answer, or NO_ANSWER. A patch is a merge patch or a JSON patch."""
        content = _PATCHES[type(body)] if method == "PATCH" else _JSON
        headers = {"Content-Type": content, **self._authorization}
        try:
            self._connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = self._connection.getresponse()
            return Answer(answer.status, json.loads(answer.read()))
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._connection.close()
            return Answer(NO_ANSWER, {"message": str(error)})


@contextmanager
def api(cluster: Cluster, token: str = "") -> Iterator[Api]:
    """Give a connection to the API server until the block ends, as the administrator without a `token`."""
    pki, network = cluster.node.layout.pki, cluster.node.network
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    if not token:
        context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
    with closing(http.client.HTTPSConnection(network.node, API_PORT, context=context, timeout=_PATIENCE)) as made:
        yield Api(made, token)
