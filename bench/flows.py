"""Count the files of the source that one request, one pod, one exchange and one demo run through.

    python -m bench.flows

Each process reports the file of every function of ours that runs, by `sys.setprofile`. Code that runs while a module is
imported does not count. A server is measured while it handles one request that is like an earlier one: everything is
loaded and cached, connections are kept, and only the pod or the resource is new. The hook is a .pth file in
site-packages while this runs.
"""

import contextlib
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from http.client import HTTPConnection
from pathlib import Path

from bench.client import ask as request_token
from bench.processes import PROXY, pod, sidecar
from bench.webhook.processes import ask as send_review
from bench.webhook.processes import surroundings, webhook
from bench.webhook.review import review

_ROOT = Path(__file__).parents[1]
_SOURCE = _ROOT / "src"
_MARK = "--"
_TOKEN = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource="  # noqa: S105 -- a path
_HOOK = """
def _report_files(folder, source):
    import os, sys, threading
    ours, seen = (source + "/wisp/", source + "/wisp_local/"), set()

    def is_import(frame):
        while frame is not None:
            if frame.f_code.co_name == "<module>" and frame.f_globals.get("__name__") != "__main__":
                return True
            frame = frame.f_back
        return False

    def write(line):
        with open(f"{folder}/{os.getpid()}", "a") as file:
            file.write(line + chr(10))

    def profile(frame, event, argument):
        mark = f"{folder}/{os.getpid()}.mark"
        if os.access(mark, os.F_OK):
            os.unlink(mark)
            seen.clear()
            write("--")
        name = frame.f_code.co_filename
        if name not in seen and frame.f_code.co_flags & 1 and name.startswith(ours) and not is_import(frame):
            seen.add(name)
            write(name[len(source) + 1:])

    threading.setprofile(profile)
    sys.setprofile(profile)
"""


class Traces:
    """What the processes report: one file for each, with a mark where a request begins."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def mark(self, pid: int) -> None:
        """Have a process report again, from its next step on, what it reported before."""
        (self._folder / f"{pid}.mark").touch()

    def since_mark(self, pid: int) -> list[str]:
        """Return the files since the last mark."""
        return sorted(self._text(pid).rpartition(f"{_MARK}\n")[2].split())

    def all_processes(self) -> list[str]:
        """Return the files that any process reported."""
        return sorted({line for path in self._folder.iterdir() for line in path.read_text().split()} - {_MARK})

    def _text(self, pid: int) -> str:
        path = self._folder / str(pid)
        return path.read_text() if path.exists() else ""


@contextlib.contextmanager
def tracing() -> Iterator[Traces]:
    """Have all Python processes of this environment report while the block runs."""
    hook = Path(sysconfig.get_path("purelib"), "_wisp_flows.py")
    start = hook.with_suffix(".pth")
    with tempfile.TemporaryDirectory(prefix="wisp-flows-", dir="/var/tmp") as name:  # the demo hides /tmp
        folder = Path(name)
        folder.chmod(0o777)
        hook.write_text(f"{_HOOK}\n_report_files({str(folder)!r}, {str(_SOURCE)!r})\n")
        start.write_text("import _wisp_flows\n")
        try:
            yield Traces(folder)
        finally:
            start.unlink()
            hook.unlink()


def cached_token_and_exchange(traces: Traces, folder: Path) -> tuple[list[str], list[str]]:
    """Return the files of a token from the cache (sidecar), and of an exchange (local cloud)."""
    with pod(folder) as around, sidecar(PROXY, around.environment) as server:
        cloud = _pid_of("cloud", "serve", str(folder))
        for resource in ("https://vault.azure.net", "https://storage.azure.com"):
            request_token(server.port, _TOKEN + resource)
        with contextlib.closing(HTTPConnection("127.0.0.1", server.port, timeout=60)) as client:
            time.sleep(0.5)  # earlier connections have ended
            _get(client)  # this second's response is rendered
            traces.mark(server.pid)
            _get(client)
            token = traces.since_mark(server.pid)
        traces.mark(cloud)
        request_token(server.port, _TOKEN + "https://management.azure.com")
        return token, [path for path in traces.since_mark(cloud) if path.startswith("wisp_local/")]


def _get(client: HTTPConnection) -> None:
    client.request("GET", _TOKEN + "https://vault.azure.net", headers={"Metadata": "true"})
    client.getresponse().read()


def admitted_pod(traces: Traces, folder: Path) -> list[str]:
    """Return the files of admission and webhook that a review of a new pod with a sidecar runs through."""
    with surroundings(folder) as around, webhook(around) as server:
        trusted, body = around.trusted(), review(sidecar=True, different=True)
        send_review(server, body.replace(b"NUMBER", b"1"), trusted)
        traces.mark(server.pid)
        send_review(server, body.replace(b"NUMBER", b"2"), trusted)
        found = traces.since_mark(server.pid)
        return [path for path in found if path.startswith(("wisp/admission/", "wisp/webhook/"))]


def demo(traces: Traces) -> list[str]:
    """Return the demo's own files: those of the demo, of the sandbox below it, and of its command."""
    subprocess.run([sys.executable, "-m", "wisp", "demo"], check=True, stdout=subprocess.DEVNULL)
    own = ("wisp_local/demo/", "wisp_local/sandbox/", "wisp_local/cli/")
    return [path for path in traces.all_processes() if path.startswith(own)]


def _pid_of(*words: str) -> int:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            command = path.read_text()
            if all(word in command for word in words):
                return int(path.parent.name)
    raise ProcessLookupError(" ".join(words))


def main() -> None:
    """Print a table."""
    with tracing() as traces:
        with tempfile.TemporaryDirectory() as folder:
            token, exchange = cached_token_and_exchange(traces, Path(folder))
        with tempfile.TemporaryDirectory() as folder:
            admitted = admitted_pod(traces, Path(folder))
    with tracing() as traces:
        demonstrated = demo(traces)
    _show("a cached token, in the sidecar", token, most=10)
    _show("a pod, in admission and webhook", admitted, most=9)
    _show("an exchange, in the local cloud", exchange, most=12)
    _show("wisp demo, of its own", demonstrated, most=12)


def _show(title: str, files: Sequence[str], *, most: int) -> None:
    print(f"{title}: {len(files)} files (at most {most})")
    for path in files:
        print(f"  {path}")


if __name__ == "__main__":
    main()
