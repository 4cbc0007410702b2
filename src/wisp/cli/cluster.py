"""Access to a cluster from a person's machine, for commands: kubeconfigs as kubectl reads them, and requests.

The processes of wisp that run in a cluster have a client of their own (`wisp.kubernetes.client`).
"""

import contextlib
import functools
import json
import os
import ssl
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeAlias
from urllib.parse import unquote, urlencode, urlsplit

import click
import urllib3

from wisp.base.errors import SettingError, WispError
from wisp.cli.options import option_group
from wisp.kubernetes.access import Access, access_of, access_of_pod
from wisp.kubernetes.config import SERVICE_ACCOUNT_DIR
from wisp.kubernetes.kubeconfig import KubeconfigError, context_names, read_kubeconfig, select_context
from wisp.kubernetes.types import ApiRequest, ApiResponse, parse_status

_PAGE_SIZE = 500
_RESTARTS = 3
"""How often a list is begun again because it has expired in the middle."""
_TIMEOUT = urllib3.Timeout(connect=10, read=60)
_HINT = "check the kubeconfig with `kubectl config view`"

Object = dict[str, Any]


class ClusterError(WispError):
    """The API server does not answer, or refuses a request. `status` is the HTTP status, 0 without an answer."""

    def __init__(self, problem: str, *, hint: str, status: int = 0) -> None:
        super().__init__(problem, hint=hint)
        self.status = status


class Cluster:
    """Send requests to an API server, with the right credentials, and report refusals as errors of a command.

    `title` is what its credentials are called in messages. `access` is called again if the server does not accept them:
    a token may have expired.
    """

    def __init__(self, title: str, access: Callable[[], Access]) -> None:
        self._title = title
        self._new_access = access
        self._access, self._pool = self._connect()

    def request(self, request: ApiRequest) -> ApiResponse:
        """Return the answer, whatever its status. Raise ClusterError without one."""
        response = self._send(request)
        if response.status == 401:
            self._access, self._pool = self._connect()
            response = self._send(request)
        return response

    def get(self, path: str) -> Object | None:
        """Return the object, or None if it does not exist. Raise ClusterError."""
        response = self.request(ApiRequest(path))
        return None if response.status == 404 else self._content(response)

    def objects(self, path: str) -> list[Object]:
        """Return all objects of a list, which is read in pages. Raise ClusterError."""
        for _ in range(_RESTARTS):
            with contextlib.suppress(_ExpiredError):
                return [item for page in self._pages(path) for item in page]
        raise ClusterError(f"the list {path} changes faster than it can be read", hint="try again", status=410)

    def create(self, path: str, document: Object) -> Object:
        """Create the object in the list at `path`. Raise ClusterError; its status is 409 if the object exists."""
        return self._content(self.request(ApiRequest(path, b"POST", json.dumps(document).encode())))

    def delete(self, path: str, held: Object) -> bool:
        """Delete the object if it is still the same as `held`; return whether it existed. Raise ClusterError."""
        names = ("uid", "resourceVersion")
        options = {"preconditions": {name: held["metadata"][name] for name in names if name in held["metadata"]}}
        response = self.request(ApiRequest(path, b"DELETE", json.dumps(options).encode()))
        if response.status == 404:
            return False
        self._content(response)
        return True

    def _pages(self, path: str) -> Iterator[list[Object]]:
        token = ""
        while True:
            query = urlencode({"limit": _PAGE_SIZE, **({"continue": token} if token else {})})
            response = self.request(ApiRequest(f"{path}?{query}"))
            if response.status == 410:
                raise _ExpiredError
            page = self._content(response)
            yield page.get("items") or []
            token = (page.get("metadata") or {}).get("continue") or ""
            if not token:
                return

    def _connect(self) -> tuple[Access, urllib3.PoolManager]:
        access = self._new_access()
        if access.tls.verify_mode == ssl.CERT_NONE:  # what the kubeconfig asks for
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        options: dict[str, Any] = {"ssl_context": access.tls, "retries": False, "timeout": _TIMEOUT}
        if access.server_name:
            options["server_hostname"] = access.server_name
        if not access.proxy:
            return access, urllib3.PoolManager(**options)
        proxy = urlsplit(access.proxy)
        if proxy.username:
            basic = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
            options["proxy_headers"] = urllib3.make_headers(proxy_basic_auth=basic)
        try:
            return access, urllib3.ProxyManager(access.proxy, **options)
        except (urllib3.exceptions.HTTPError, ValueError):
            host = f"{proxy.scheme}://{proxy.hostname}"
            raise SettingError(
                f"the proxy {host} is not supported", hint="give an http or https proxy as proxy-url or HTTPS_PROXY"
            ) from None

    def _send(self, request: ApiRequest) -> ApiResponse:
        headers = urllib3.HTTPHeaderDict({"Accept": request.accept.decode(), "User-Agent": "wisp"})
        if request.body:
            headers["Content-Type"] = request.content_type.decode()
        if self._access.token is not None:
            headers["Authorization"] = f"Bearer {self._access.token.reveal()}"
        for name, values in self._access.headers.items():
            for value in values:
                headers.add(name, value)
        url = self._access.url + request.path
        try:
            answer = self._pool.request(
                request.method.decode(), url, body=request.body or None, headers=headers, redirect=False
            )
        except urllib3.exceptions.HTTPError as error:
            self._fail(error)
        return ApiResponse(answer.status, answer.data)

    def _fail(self, error: Exception) -> NoReturn:
        server = self._access.url
        if isinstance(error, urllib3.exceptions.ProxyError):
            proxy = urlsplit(self._access.proxy)
            raise ClusterError(
                f"the proxy {proxy.scheme}://{proxy.hostname} does not connect to the API server {server}",
                hint="check proxy-url in the kubeconfig, HTTPS_PROXY and NO_PROXY",
            ) from None
        if isinstance(error, urllib3.exceptions.SSLError):
            cause = next((part for part in error.args if isinstance(part, ssl.SSLError)), error)
            reason = getattr(cause, "verify_message", "") or getattr(cause, "reason", "") or "TLS failed"
            raise ClusterError(
                f"the connection to the API server {server} is not secure: {reason}",
                hint="check certificate-authority and tls-server-name of the cluster in the kubeconfig",
            ) from None
        if isinstance(error, urllib3.exceptions.ProtocolError):
            reason = "it closed the connection"
        elif isinstance(error, urllib3.exceptions.NewConnectionError):
            reason = str(getattr(error.__cause__, "strerror", None) or "no connection").lower()
        elif isinstance(error, urllib3.exceptions.TimeoutError):
            reason = "it does not answer in time"
        else:
            reason = type(error).__name__
        raise ClusterError(
            f"the API server {server} cannot be reached: {reason}",
            hint=f"check the network and {self._title}",
        ) from None

    def _content(self, response: ApiResponse) -> Object:
        """Return the object in a response. Raise ClusterError if the request was refused."""
        if 200 <= response.status < 300:
            try:
                content: Object = json.loads(response.body)
                if isinstance(content, dict):
                    return content
            except ValueError:
                pass
            raise ClusterError(
                f"the answer of {self._access.url} is not of an API server", hint="check the server in the kubeconfig"
            )
        status = parse_status(response.status, response.body)
        hint = "try again"
        if response.status == 401:
            problem, hint = f"the API server does not accept the credentials of {self._title}", "log in again"
        elif response.status == 403:
            problem = f"the API server forbids it: {status.message}"
            hint = "ask an administrator for this right, or use another --context"
        else:
            problem = f"the API server refuses the request: {status.message}"
        raise ClusterError(problem, hint=hint, status=response.status)


class _ExpiredError(Exception):
    """A list cannot be continued (410 Gone)."""


def connect(kubeconfig: Path | None, context: str | None, environ: Mapping[str, str] = os.environ) -> Cluster:
    """Return the cluster that kubectl would use with these options. Nothing is sent yet.

    Without a kubeconfig in a pod, that is the pod's own cluster. Raise SettingError, or ToolError if the credential
    plugin fails.
    """
    found = _read_kubeconfigs(kubeconfig, environ)
    if not found:
        if context is None and (SERVICE_ACCOUNT_DIR / "token").exists():
            return Cluster("the pod's service account", access_of_pod)
        raise SettingError("there is no kubeconfig", hint="give --kubeconfig or set KUBECONFIG")
    documents = list(found.values())
    try:
        config = select_context(documents, context or "")
    except KubeconfigError as error:
        problem = f"the kubeconfig {':'.join(map(str, found))} cannot be used: {error}"
        names = ", ".join(context_names(documents)) or "there are none"
        raise SettingError(problem, hint=f"choose one of its contexts with --context: {names}") from None
    return Cluster(f"the context {config.context!r}", lambda: access_of(config, environ))


def _read_kubeconfigs(kubeconfig: Path | None, environ: Mapping[str, str]) -> dict[Path, Mapping[str, Any]]:
    """Return the documents by path. Files that are only in KUBECONFIG, or the default, need not exist."""
    if kubeconfig is not None:
        paths = [kubeconfig]
    elif environ.get("KUBECONFIG"):
        paths = [Path(name) for name in environ["KUBECONFIG"].split(":") if name]
    else:
        paths = [Path(environ.get("HOME", "/")) / ".kube" / "config"]
    found = {}
    for path in paths:
        try:
            found[path] = read_kubeconfig(path.read_text(encoding="utf-8"), str(path.absolute().parent))
        except (OSError, ValueError) as error:
            if isinstance(error, FileNotFoundError) and kubeconfig is None:
                continue
            reason = getattr(error, "strerror", None) or error
            raise SettingError(f"the kubeconfig {str(path)!r} cannot be read: {reason}", hint=_HINT) from None
    return found


Connection: TypeAlias = Callable[[], Cluster]
"""Returns the cluster of a command's options. A command that may need no cluster calls it only if it does."""


def connection_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add --kubeconfig and --context; the command is called with a function `connection` that returns the cluster."""
    options = (
        click.option(
            "--kubeconfig",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Kubeconfig of the cluster; by default the files in KUBECONFIG, or ~/.kube/config.",
        ),
        click.option("--context", metavar="NAME", help="Context of the kubeconfig; by default the current one."),
    )
    return option_group("connection", lambda **values: functools.partial(connect, **values), options)(command)
