"""The plain listener: /healthz, /readyz and /metrics, for the kubelet and for Prometheus."""

from collections.abc import Callable

from wisp.base.metrics import CONTENT_TYPE
from wisp.http.messages import TEXT, Reject, Request, Response


class Health:
    """The application of the plain listener. `not_ready` gives the reasons why the server is not ready."""

    def __init__(self, not_ready: Callable[[], list[str]], metrics: Callable[[], bytes]) -> None:
        self._not_ready = not_ready
        self._metrics = metrics

    def answer(self, request: Request) -> Response:
        """Answer one of three paths."""
        if request.method not in (b"GET", b"HEAD"):
            return Response(405, b"only GET and HEAD\n", TEXT, b"Allow: GET, HEAD\r\n")
        match request.target.partition(b"?")[0]:
            case b"/healthz":
                return Response(200, b"ok\n", TEXT)
            case b"/readyz":
                reasons = "".join(f"{reason}\n" for reason in self._not_ready())
                return Response(503 if reasons else 200, (reasons or "ok\n").encode(), TEXT)
            case b"/metrics":
                return Response(200, self._metrics(), CONTENT_TYPE)
        return Response(404, b"the paths are /healthz, /readyz and /metrics\n", TEXT)

    def rejected(self, reject: Reject) -> Response:
        """Answer bytes that are not a request."""
        return Response(reject.status, f"{reject.reason}\n".encode(), TEXT)
