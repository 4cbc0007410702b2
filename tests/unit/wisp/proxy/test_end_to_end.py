"""The sidecar as a real process, against the local cloud and against a faulty authority."""

import hashlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.authority import Authority, Post, answer, grants, in_turn, refuses
from tests.support.fakes import ARM, CLIENT_ID, jwt, token_target
from tests.support.waiting import PATIENCE, wait_until
from tests.unit.wisp.proxy.exposition import parse
from tests.unit.wisp.proxy.sidecar import COMMAND, Answer, Pod, Sidecar, free_port, is_gone, pod, run, running
from tests.unit.wisp_local.cloud.process import Running as Cloud
from tests.unit.wisp_local.cloud.process import running as running_cloud
from tests.unit.wisp_local.cloud.process import workload
from wisp.base.version import version_text
from wisp.entra.exchange.interpret import claims_of
from wisp.proxy.flags import USAGE
from wisp_local.cloud.issuer import Projection, service_account_claims
from wisp_local.cloud.state.store import Store

pytestmark = pytest.mark.system

VAULT = "https://vault.azure.net"
PROJECTION = Projection("kube-system", "wi-demo-sa")


@dataclass(frozen=True)
class Federated:
    """A sidecar whose authority is the local cloud, and ways to change its pod's assertion."""

    sidecar: Sidecar
    pod: Pod
    cloud: Cloud

    def present(self, **changes: object) -> None:
        """Replace the pod's assertion by one with some claims changed."""
        with Store(self.cloud.state) as store:
            issuer = store.issuers.named("wilab")
            claims = service_account_claims(self.issuer_url, PROJECTION, now=time.time())
            assertion = issuer.keys[-1].sign({}, {**claims, **changes}).reveal()
        self.pod.token_file.write_text(assertion)

    @property
    def issuer_url(self) -> str:
        """The issuer that the identity trusts."""
        with Store(self.cloud.state) as store:
            return self.cloud.url + store.issuers.named("wilab").path


@contextmanager
def running_federated(cloud: Cloud, folder: Path) -> Generator[Federated]:
    """Run a sidecar in a pod of the guide's identity until the block ends."""
    asks = workload(cloud.state, cloud.url)
    folder.mkdir(exist_ok=True)
    own = pod(folder, f"{cloud.url}/", tenant=asks.tenant, client_id=asks.client_id)
    own.token_file.write_text(asks.assertion)
    with running(own, "--authority-ca", cloud.ca_file) as sidecar:
        yield Federated(sidecar, own, cloud)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Generator[Cloud]:
    """Return a local cloud."""
    with running_cloud(tmp_path_factory.mktemp("cloud") / "state.db") as cloud:
        yield cloud


@pytest.fixture(scope="module")
def federated(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Generator[Federated]:
    """Return a sidecar in a pod of the guide's identity."""
    with running_federated(cloud, tmp_path_factory.mktemp("pod")) as federated:
        yield federated


def test_token_is_issued_for_the_managed_identity_and_audience(federated: Federated) -> None:
    document = federated.sidecar.token().document
    claims = claims_of(document["access_token"])
    assert claims["aud"] == ARM
    assert claims["xms_mirid"].endswith("/resourcegroups/WorkloadIdentityRG" + MIRID_END)
    assert (document["resource"], document["client_id"]) == (ARM, claims["appid"])
    assert abs(int(document["expires_on"]) - claims["exp"]) <= 1


MIRID_END = "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/wi-demo-identity"


def _flipped(text: str) -> str:
    head, _, signature = text.rpartition(".")
    return f"{head}.{signature[:8]}{'A' if signature[8] != 'A' else 'B'}{signature[9:]}"


def _forge(federated: Federated) -> None:
    federated.present()
    federated.pod.token_file.write_text(_flipped(federated.pod.token_file.read_text()))


REFUSALS: dict[str, tuple[int, Callable[[Federated], None]]] = {
    "subject": (700213, lambda world: world.present(sub="system:serviceaccount:kube-system:other")),
    "subject in another case": (
        7002138,
        lambda world: world.present(sub="system:serviceaccount:kube-system:WI-demo-sa"),
    ),
    "issuer": (700211, lambda world: world.present(iss=f"{world.issuer_url}other/")),
    "issuer without its slash": (700211, lambda world: world.present(iss=world.issuer_url.rstrip("/"))),
    "audience": (700212, lambda world: world.present(aud=["api://other"])),
    "expired": (700024, lambda world: world.present(exp=int(time.time()) - 60)),
    "not yet valid": (700024, lambda world: world.present(nbf=int(time.time()) + 3600)),
    "forged": (50027, _forge),
}


def test_entras_refusal_is_returned_as_a_request_error(cloud: Cloud, tmp_path: Path) -> None:
    """The client gets Entra's code and text in JSON, and does not retry.

    Several pods ask at a time, since temporary codes are retried for two seconds.
    """

    def ask(name: str) -> Answer:
        with running_federated(cloud, tmp_path / name) as world:
            REFUSALS[name][1](world)
            return world.sidecar.token(VAULT)

    with ThreadPoolExecutor(4) as pods:
        answers = dict(zip(REFUSALS, pods.map(ask, REFUSALS), strict=True))
    for name, (code, _) in REFUSALS.items():
        document = answers[name].document
        assert answers[name].status in (400, 401), name
        assert document["error_description"].startswith(f"AADSTS{code}: "), name
        assert "Trace ID: " in document["error_description"], name
        assert document["error"] in ("invalid_client", "invalid_request"), name


def test_unknown_resource_and_unknown_identity_are_refused_by_entra(federated: Federated) -> None:
    assert "AADSTS500011" in federated.sidecar.token("https://nobody.example").document["error_description"]
    response = federated.sidecar.token(client_id="11111111-2222-3333-4444-555555555555").document
    assert response["error"] == "invalid_request"
    assert response["error_description"].startswith("Identity not found: AADSTS700016: ")


def test_first_token_causes_exactly_one_post(sidecar: Sidecar, authority: Authority) -> None:
    """No discovery, and no second exchange for concurrent or later requests."""
    with ThreadPoolExecutor(32) as clients:
        answers = list(clients.map(lambda _: sidecar.token(), range(100)))
    assert {answer.status for answer in answers} == {200}
    assert len({answer.document["access_token"] for answer in answers}) == 1
    assert [post.line.split("/")[2:] for post in authority.posts] == [["oauth2", "v2.0", "token HTTP", "1.1"]]
    assert authority.connections == 1


def test_rejected_token_is_exchanged_once_for_many_clients(sidecar: Sidecar, authority: Authority) -> None:
    """They send its hash, as MSAL does. A fault is reported."""
    numbers = itertools.count()

    def grants_another(_: Post) -> bytes:
        return answer(200, {"token_type": "Bearer", "expires_in": 86399, "access_token": jwt(uti=next(numbers))})

    authority.behaviour = grants_another
    old = sidecar.token(xms_cc="cp1").document["access_token"]
    rejected = {"xms_cc": "cp1", "token_sha256_to_refresh": hashlib.sha256(old.encode()).hexdigest()}
    with ThreadPoolExecutor(32) as clients:
        answers = list(clients.map(lambda _: sidecar.token(**rejected), range(100)))
    (new,) = {answer.document["access_token"] for answer in answers}
    assert new != old
    assert sidecar.token(xms_cc="cp1").document["access_token"] == new
    assert len(authority.posts) == 2
    authority.behaviour = refuses(401, 700016)
    rejected["token_sha256_to_refresh"] = hashlib.sha256(new.encode()).hexdigest().upper()
    assert [sidecar.token(**rejected).status, sidecar.token(xms_cc="cp1").status] == [401, 401]


def test_every_log_line_is_a_json_event(sidecar: Sidecar) -> None:
    sidecar.token()
    sidecar.get("/nothing")
    assert sidecar.end() == 0
    events = sidecar.events()
    assert [line["event"] for line in events] == [
        "listening",
        "token exchanged",
        "request refused",
        "stopping",
        "stopped",
    ]
    assert events[0]["port"] == sidecar.port
    assert events[1]["resource"] == ARM


def test_metrics_count_requests_and_exchanges(sidecar: Sidecar, authority: Authority) -> None:
    """As Prometheus reads them."""
    sidecar.token()
    sidecar.token()
    authority.behaviour = refuses(401, 700212)
    sidecar.token(VAULT)
    page = sidecar.get("/metrics")
    assert page.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = parse(page.body.decode())
    assert families["wisp_requests_total"].samples["", "outcome=token"] == 2
    assert families["wisp_requests_total"].samples["", "outcome=refused"] == 1
    assert families["wisp_cache_hits_total"].samples == {("",): 1}
    assert families["wisp_exchanges_total"].samples == {
        ("", "result=granted", "aadsts="): 1,
        ("", "result=refused", "aadsts=700212"): 1,
    }
    left = families["wisp_token_expiry_timestamp_seconds"].samples["",] - time.time()
    assert 86300 < left <= 86400


def test_token_file_fault_is_reported_and_recovers_without_restart(sidecar: Sidecar, own_pod: Pod) -> None:
    good = own_pod.token_file.read_text()
    own_pod.token_file.unlink()
    for resource, content in (("missing", None), ("empty", ""), ("malformed", "hello"), ("a directory", None)):
        if content is not None:
            own_pod.token_file.write_text(content)
        response = sidecar.token(resource)
        assert (response.status, response.document["error"]) == (503, "temporarily_unavailable")
        assert str(own_pod.token_file) in response.document["error_description"]
        assert response.headers["retry-after"] == "2"
    own_pod.token_file.write_text(good)
    wait_until(lambda: sidecar.token("missing").status == 200)


def test_429_is_passed_on_with_its_remaining_time(sidecar: Sidecar, authority: Authority) -> None:
    """Nobody makes Entra be asked before."""
    authority.behaviour = lambda _: answer(429, {"error": "throttled"}, "Retry-After: 3000")
    waits = [int(sidecar.token().headers["retry-after"]) for _ in range(20)]
    assert waits == sorted(waits, reverse=True)
    assert 2000 < waits[-1] <= waits[0] <= 3000
    assert sidecar.token().status == 429
    assert len(authority.posts) == 1


def test_a_hundred_clients_of_a_broken_authority_cause_one_call(sidecar: Sidecar, authority: Authority) -> None:
    assert sidecar.token(VAULT).status == 200
    authority.behaviour = lambda _: answer(500, {})
    assert [answer.status for answer in sidecar.tokens_at_once(100)] == [503] * 100
    assert len(authority.posts) == 2


def test_temporary_refusal_is_hidden_from_the_client(sidecar: Sidecar, authority: Authority) -> None:
    """Federated credentials are eventually consistent."""
    assert sidecar.token(VAULT).status == 200, "the exchange process is there, and its connection"
    authority.behaviour = in_turn(refuses(401, 70025), refuses(401, 700213), refuses(401, 700211), grants)
    assert sidecar.token().status == 200
    assert len(authority.posts) == 5


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"])
def test_every_path_answers_every_method(federated: Federated, method: str) -> None:
    """An answer to HEAD has no body."""
    sidecar = federated.sidecar
    expected = {"/readyz": 200, "/healthz": 200, "/metrics": 200, token_target(): 200, "/nothing": 404}
    for target, status in expected.items():
        response = sidecar.get(target, method, Metadata="true")
        if method == "POST" and "metadata" in target:
            assert (response.status, "audience" in response.document["error_description"]) == (400, True)
        elif status == 200 and (method not in ("GET", "HEAD") or (method == "HEAD" and target.startswith("/metadata"))):
            assert (response.status, response.headers["allow"]) == (
                405,
                "GET, POST" if "metadata" in target else "GET, HEAD",
            )
        else:
            assert response.status == status
        assert bool(response.body) == (method != "HEAD")


@pytest.mark.parametrize(
    "number, group",
    [
        pytest.param(signal.SIGTERM, False, id="SIGTERM to the process"),
        pytest.param(signal.SIGINT, False, id="SIGINT to the process"),
        pytest.param(signal.SIGINT, True, id="SIGINT to the group"),
    ],
)
def test_signal_during_an_exchange_still_delivers_the_token(
    own_pod: Pod, authority: Authority, number: signal.Signals, *, group: bool
) -> None:
    """No new client is accepted, and the exit status is 0. A signal to the group has the same effect."""
    release = threading.Event()
    statuses: list[int] = []
    authority.behaviour = lambda post: grants(post) if release.wait(PATIENCE) else None
    with running(own_pod, "--authority-ca", str(authority.ca_file), wrapper=("setsid",)) as sidecar:
        client = threading.Thread(target=lambda: statuses.append(sidecar.token().status))
        client.start()
        wait_until(lambda: authority.posts)
        (os.killpg if group else os.kill)(sidecar.process.pid, number)
        wait_until(lambda: _refuses_connections(sidecar.port))
        release.set()
        assert sidecar.process.wait(PATIENCE) == 0
        client.join()
    assert statuses == [200]


def _refuses_connections(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), PATIENCE).close()
    except ConnectionRefusedError:
        return True
    return False


def test_signal_right_after_start_ends_cleanly(own_pod: Pod, authority: Authority) -> None:
    """Process 1 of a container cannot lose a signal."""
    port = free_port()
    command = [*COMMAND, "--proxy-port", str(port), "--authority-ca", str(authority.ca_file)]
    with subprocess.Popen(command, env={**os.environ, **own_pod.environment}) as process:
        wait_until(lambda: not _refuses_connections(port), "it listens", pause=0.001)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


def test_requests_during_startup_are_answered(own_pod: Pod, authority: Authority) -> None:
    """Even before the sidecar has loaded the modules to answer them."""
    port = free_port()
    command = [*COMMAND, "--proxy-port", str(port), "--authority-ca", str(authority.ca_file)]
    environment = {**os.environ, **own_pod.environment}
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: not _refuses_connections(port), "it listens", pause=0.001)
        early = Sidecar(process, port, Path(os.devnull))
        with ThreadPoolExecutor(16) as clients:
            assert {answer.status for answer in clients.map(lambda _: early.token(), range(64))} == {200}
        assert early.end() == 0
    assert len(authority.posts) == 1


def test_killed_exchange_process_is_not_noticed_by_clients(sidecar: Sidecar, authority: Authority) -> None:
    """Between exchanges and during one."""
    assert sidecar.token().status == 200
    os.kill(sidecar.child(), signal.SIGKILL)
    assert sidecar.token(VAULT).status == 200
    release = threading.Event()
    authority.behaviour = lambda post: grants(post) if release.wait(PATIENCE) else None
    with ThreadPoolExecutor(1) as client:
        waiting = client.submit(sidecar.token, "https://during/")
        wait_until(lambda: len(authority.posts) == 3)
        os.kill(sidecar.child(), signal.SIGKILL)
        wait_until(lambda: len(authority.posts) == 4)
        release.set()
        assert waiting.result().status == 200


def test_exchange_process_ends_when_the_sidecar_is_killed(sidecar: Sidecar, authority: Authority) -> None:
    """Even in the middle of an exchange."""
    wait_until(sidecar.child)
    child = sidecar.child()
    release = threading.Event()
    authority.behaviour = lambda post: grants(post) if release.wait(PATIENCE) else None
    with ThreadPoolExecutor(1) as client:
        waiting = client.submit(sidecar.token)
        wait_until(lambda: authority.posts)
        sidecar.end(signal.SIGKILL)
        wait_until(lambda: is_gone(child))
        release.set()
        assert isinstance(waiting.exception(), OSError)


@pytest.mark.needs("root")  # to look at the descriptors of a process whose memory is closed
def test_closed_standard_streams_are_not_reused_by_connections(own_pod: Pod, authority: Authority) -> None:
    """Log lines must not reach a client."""
    wrapper = ("sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-')
    with running(own_pod, "--authority-ca", str(authority.ca_file), wrapper=wrapper) as sidecar:
        assert sidecar.token().status == 200
        assert sidecar.get("/nothing").document["error"] == "not_found"
        streams = {str(Path(f"/proc/{sidecar.process.pid}/fd/{number}").readlink()) for number in range(3)}
        assert streams == {"/dev/null"}
        assert sidecar.end() == 0


def test_sidecar_waits_for_its_child_when_sigchld_is_ignored(own_pod: Pod, authority: Authority) -> None:
    ignoring = (
        "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    )
    wrapper = (COMMAND[0], "-c", ignoring)
    with running(own_pod, "--authority-ca", str(authority.ca_file), wrapper=wrapper) as sidecar:
        assert sidecar.token().status == 200
        os.kill(sidecar.child(), signal.SIGKILL)
        assert sidecar.token(VAULT).status == 200
        assert sidecar.end() == 0


GOOD = {
    "AZURE_TENANT_ID": "contoso.onmicrosoft.com",
    "AZURE_CLIENT_ID": CLIENT_ID,
    "AZURE_FEDERATED_TOKEN_FILE": "/nowhere",
}


@pytest.mark.parametrize(
    "arguments, changes, message",
    [
        pytest.param([], {"AZURE_TENANT_ID": ""}, "AZURE_TENANT_ID is empty", id="tenant"),
        pytest.param([], {"AZURE_CLIENT_ID": "name"}, "AZURE_CLIENT_ID is not a GUID", id="client id"),
        pytest.param([], {"AZURE_FEDERATED_TOKEN_FILE": ""}, "AZURE_FEDERATED_TOKEN_FILE is empty", id="token file"),
        pytest.param([], {"AZURE_AUTHORITY_HOST": "http://x"}, "AZURE_AUTHORITY_HOST is not", id="authority"),
        pytest.param(["--authority-ca", "/no\nwhere"], {}, r"--authority-ca '/no\nwhere'", id="CA"),
        pytest.param(["--proxy-port", "0"], {}, "--proxy-port '0' is not a port", id="port"),
        pytest.param(["--log-level", "loud"], {}, "--log-level 'loud' is unknown", id="level"),
        pytest.param(["--listen"], {}, "unknown flag '--listen'", id="flag"),
        pytest.param(["\udcff\n"], {}, r"unknown flag '\udcff\n'", id="no text"),
    ],
)
def test_bad_setting_stops_the_start_with_a_hint(arguments: list[str], changes: dict[str, str], message: str) -> None:
    """One line names the setting, another the hint; the status is 2."""
    ended = run(*arguments, **{**GOOD, **changes})
    assert (ended.returncode, ended.stdout) == (2, "")
    assert message in ended.stderr
    error, hint, nothing = ended.stderr.split("\n")
    assert error.startswith("error: ")
    assert hint.startswith("hint: ")
    assert nothing == ""


def test_port_in_use_is_reported_with_the_flag() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        ended = run("--proxy-port", str(port), **GOOD)
    assert ended.returncode == 2
    assert ended.stderr == (
        f"error: cannot listen on 127.0.0.1:{port} (address already in use)\n"
        "hint: stop what uses it, or choose another by --proxy-port\n"
    )


@pytest.mark.parametrize(
    "arguments, stdout",
    [
        (["--version"], version_text("text")),
        (["--version", "-o", "json"], version_text("json")),
        (["--help"], USAGE),
        (["-h", "--proxy-port", "1"], USAGE),
    ],
)
def test_version_and_usage_need_no_settings(arguments: list[str], stdout: str) -> None:
    ended = run(*arguments)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, stdout, "")


def test_closed_standard_output_is_not_an_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run([*COMMAND, "--help"], stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_probe_waits_for_a_starting_sidecar_and_reports_a_missing_one(own_pod: Pod, authority: Authority) -> None:
    port = free_port()
    with subprocess.Popen([*COMMAND, "--probe", "--proxy-port", str(port)]) as early:
        command = [*COMMAND, "--proxy-port", str(port), "--authority-ca", str(authority.ca_file)]
        with subprocess.Popen(command, env={**os.environ, **own_pod.environment}, stderr=subprocess.DEVNULL) as process:
            assert early.wait(PATIENCE) == 0
            assert run("--probe", f"--proxy-port={port}").returncode == 0
            process.terminate()


def test_probe_of_another_server_reports_not_ready() -> None:
    """In a program, it is reported at the first answer."""
    from wisp.proxy.probe import probe  # noqa: PLC0415

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_answer_once, args=(listener,))
        thread.start()
        assert probe(listener.getsockname()[1], patience=0.0) == "it answered 503"
        thread.join()


def _answer_once(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(1024)
        connection.sendall(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")


UNWANTED = {
    "argparse", "asyncio", "click", "concurrent", "cryptography", "dataclasses", "email", "http", "inspect", "logging",
    "pathlib", "random", "selectors", "socket", "ssl", "subprocess", "tempfile", "threading", "urllib", "urllib3",
}  # fmt: skip


def _modules(script: str) -> list[str]:
    """Return the modules loaded after `script`."""
    command = [COMMAND[0], "-c", f"{script}; import sys; print(*sys.modules)"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_sidecar_loads_only_the_modules_it_needs() -> None:
    """Each other module would cost every pod memory and start-up time."""
    loaded = _modules("import wisp.proxy.app, wisp.proxy.token_service, wisp.entra.process")
    assert "wisp.entra.tokens" in loaded
    assert {name.partition(".")[0] for name in loaded} & UNWANTED == set()


def test_named_tuples_have_no_string_annotations() -> None:
    """Python compiles a string in a NamedTuple, which creates the 100 classes of its syntax trees: 0.2 MB."""
    script = "import wisp.proxy.app, wisp.proxy.token_service, wisp.entra.process, gc, typing"
    seen = "[name for name in gc.get_objects() if isinstance(name, typing.ForwardRef)]"
    done = subprocess.run([COMMAND[0], "-c", f"{script}; print({seen})"], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_sidecar_listens_before_the_token_service_is_loaded() -> None:
    """JSON, the token store and the exchange are loaded afterwards."""
    loaded = _modules("import wisp.proxy.app")
    late = {
        "json",
        "signal",
        "wisp.entra.tokens",
        "wisp.imds",
        "wisp.base.jsontext",
        "wisp.proxy.token_service",
        "wisp.base.log",
    }
    assert late.isdisjoint(loaded)


def test_probe_is_answered_before_the_checks_are_loaded() -> None:
    """The same holds for the token service."""
    answered = (
        "from wisp.http.parser import parse_head; from wisp.proxy.app import Front; "
        "from wisp.proxy.probe import REQUEST; front = Front(lambda: 1 / 0); "
        "assert front.answer(parse_head(REQUEST).request, print).status == 200"
    )
    assert {"wisp.imds", "wisp.proxy.token_service"}.isdisjoint(_modules(answered))


def test_assertion_and_tokens_never_become_visible(sidecar: Sidecar, authority: Authority, own_pod: Pod) -> None:
    """Even if Entra repeats the assertion in its error: `running` checks all output at the end."""

    def repeats(post: Post) -> bytes:
        text = f"AADSTS50027: JWT {post.form['client_assertion'][0]} is bad, not {jwt(a=1)}"
        return answer(400, {"error": "invalid_client", "error_description": text})

    authority.behaviour = repeats
    response = sidecar.token().document
    assert response["error_description"] == "AADSTS50027: JWT *** is bad, not ***"
    assert own_pod.token_file.read_text() not in json.dumps(response)
    assert sidecar.events()[-1]["reason"] == response["error_description"]


def test_installation_in_folders_of_pythonpath_works(own_pod: Pod, authority: Authority) -> None:
    """As with `pip install --target`: the exchange process, which ignores PYTHONPATH, finds wisp and urllib3 too."""
    interpreter = Path(sys.executable).resolve()
    wrapper = ("sh", "-c", 'shift; exec "$0" -S "$@"', str(interpreter))
    folders = os.pathsep.join(path for path in sys.path if path)
    installed = own_pod._replace(environment={**own_pod.environment, "PYTHONPATH": folders})
    with running(installed, "--authority-ca", str(authority.ca_file), wrapper=wrapper) as sidecar:
        assert sidecar.token().status == 200
