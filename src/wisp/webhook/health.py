"""The plain listener: /healthz, /readyz and /metrics, for the kubelet and for Prometheus."""

from collections.abc import Callable

from wisp.http.messages import TEXT, Reject, Request, Response
from wisp.webhook.metrics import CONTENT_TYPE


class Health:
    """The application of the plain listener. `lacks` gives what is not ready, nothing when all is."""

    def __init__(self, lacks: Callable[[], list[str]], page: Callable[[], bytes]) -> None:
        self._lacks = lacks
        self._page = page

    def answer(self, request: Request) -> Response:
        """Answer one of three paths."""
        if request.method not in (b"GET", b"HEAD"):
            return Response(405, b"only GET and HEAD\n", TEXT, b"Allow: GET, HEAD\r\n")
        path = request.target.partition(b"?")[0]
        if path == b"/healthz":
            return Response(200, b"ok\n", TEXT)
        if path == b"/readyz":
            lacks = self._lacks()
            return Response(503, "".join(f"{each}\n" for each in lacks).encode(), TEXT) if lacks else _OK
        if path == b"/metrics":
            return Response(200, self._page(), CONTENT_TYPE)
        return Response(404, b"here are /healthz, /readyz and /metrics\n", TEXT)

    def rejected(self, reject: Reject) -> Response:
        """Answer bytes that are no request."""
        return Response(reject.status, f"{reject.reason}\n".encode(), TEXT)


_OK = Response(200, b"ok\n", TEXT)
