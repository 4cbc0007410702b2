"""Every way of asking for a token, as load: what each costs beside the bare server, which is asked in the same way."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlencode

from bench.client import TOKEN_PATH, ask
from bench.load import Row
from bench.processes import PROXY, Pod, Server, bare, sidecar

IDENTITY_HEADER = "bench-identity-header"
_PATH = TOKEN_PATH.partition("?")[0]
_RESOURCE = "https://management.azure.com/"
_FORM = urlencode({"resource": _RESOURCE})
_CONNECTIONS = 16

_POST = 'wrk.method = "POST"\nwrk.body = "%s"\n'
_CHUNKED = """
local whole = "POST %s HTTP/1.1\\r\\nHost: 169.254.169.254\\r\\nMetadata: true\\r\\n"
  .. "Content-Type: application/x-www-form-urlencoded\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n"
  .. "%x\\r\\n%s\\r\\n0\\r\\n\\r\\n"
request = function() return whole end
"""


def dialects(pod: Pod) -> tuple[Row, ...]:
    """Return a row for each dialect, for the pod's identity, by each of its names."""
    selectors = {
        "client_id": pod.environment["AZURE_CLIENT_ID"],
        "object_id": pod.names["AZURE_OBJECT_ID"],
        "msi_res_id": pod.names["AZURE_RESOURCE_ID"],
    }
    return (
        _row("GET"),
        *(_row(f"GET, {name}", target=_token(**{name: value})) for name, value in selectors.items()),
        _row("GET, bypass_cache", target=_token(bypass_cache="true")),
        _row(
            "App Service 2019, X-IDENTITY-HEADER",
            headers=(f"X-IDENTITY-HEADER: {IDENTITY_HEADER}",),
            target=_versioned("2019-08-01"),
        ),
        _row("App Service 2017, secret", headers=(f"secret: {IDENTITY_HEADER}",), target=_versioned("2017-09-01")),
        _row(
            "Cloud Shell, POST of a form",
            headers=("Metadata: true", "Content-Type: application/x-www-form-urlencoded"),
            script=_POST % _FORM,
            target=_PATH,
        ),
        _row("Cloud Shell, POST of a form in chunks", script=_CHUNKED % (_PATH, len(_FORM), _FORM), target=_PATH),
        _row("refused: App Service, another's header", headers=("X-IDENTITY-HEADER: x",), refused=True),
        _row("passed on: /metadata/instance", target="/metadata/instance?api-version=2021-02-01"),
    )


@contextmanager
def besides(pod: Pod) -> Iterator[dict[str, Server]]:
    """Run a sidecar that serves all of them, with a node to pass on to, and a bare server with answers as long."""
    environment = {**pod.environment, **pod.names, "IDENTITY_HEADER": IDENTITY_HEADER}
    with bare(200) as node, sidecar([*PROXY, "--metadata-endpoint", f"127.0.0.1:{node.port}"], environment) as ours:
        answer = ask(ours.port)
        if answer.status != 200:
            raise SystemExit(f"bench: no token: HTTP {answer.status} {answer.body.decode()}")
        with bare(answer.size) as yardstick:
            yield {"bare": yardstick, "wisp": ours}


def _row(
    name: str,
    *,
    target: str = TOKEN_PATH,
    headers: tuple[str, ...] = ("Metadata: true",),
    script: str | None = None,
    refused: bool = False,
) -> Row:
    return Row(name, _CONNECTIONS, headers, script, refused, target)


def _token(**parameters: str) -> str:
    return f"{TOKEN_PATH}&{urlencode(parameters)}"


def _versioned(version: str) -> str:
    return f"{_PATH}?{urlencode({'api-version': version, 'resource': _RESOURCE})}"
