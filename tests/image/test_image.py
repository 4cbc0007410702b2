"""The image, built by buildah and run by crun with the privileges that a pod gives it."""

import json
import platform
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.processes import Memory
from image.archive import files
from tests.image.container import Image, Pod, run, run_program, running
from tests.support.authority import Authority
from tests.support.waiting import wait_until
from tests.unit.wisp.proxy.sidecar import Sidecar, free_port, pod
from wisp import __version__
from wisp.proxy.probe import probe

pytestmark = pytest.mark.image

NOBODY_NEEDS = frozenset(
    {
        "apt",
        "apt-get",
        "as",
        "ash",
        "bash",
        "busybox",
        "cc",
        "curl",
        "dash",
        "dpkg",
        "env",
        "gcc",
        "ld",
        "ldconfig",
        "mount",
        "perl",
        "pip",
        "pip3",
        "sh",
        "strip",
        "su",
        "wget",
    }
)
TOKEN, CA = "/var/run/secrets/azure/wi/token/azure-identity-token", "/var/run/authority.crt"
EVERY_MODULE = """
import importlib, pkgutil, sys
import wisp
for found in pkgutil.walk_packages(wisp.__path__, "wisp.", onerror=print):
    name = found.name
    if not name.endswith("__main__"):
        importlib.import_module(name)
        print(name)
"""


@pytest.fixture(name="network")
def _network() -> Iterator[str]:
    """Give a network namespace that lives as long as the test."""
    with subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec cat"], stdin=-1, stdout=-1) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        yield f"/proc/{holder.pid}/ns/net"
        holder.terminate()


def test_image_prints_the_version_of_the_package(image: Image) -> None:
    """Every entry point prints the same version, commit and platform."""
    form = ["--version", "-o", "json"]
    entry_points = [
        run_program(image, Pod(), ["/proxy", *form]),
        *(run(image, Pod(), [*command, *form]) for command in ([], ["webhook"])),
    ]
    for done in entry_points:
        assert (done.returncode, done.stdout, done.stderr) == (0, entry_points[0].stdout, "")
    version = json.loads(entry_points[0].stdout)
    assert version["version"] == __version__
    assert version["python"].startswith("3.11.")
    assert version["platform"] == f"linux/{platform.machine()}"
    assert version["commit"] == "unknown" or re.fullmatch("[0-9a-f]{40}", version["commit"])
    labels = image.config.labels
    assert labels["org.opencontainers.image.version"] == __version__
    assert labels["org.opencontainers.image.revision"] == version["commit"]


@pytest.mark.parametrize("command", ["proxy", "redirect up", "webhook", "webhook review", "inject"])
def test_every_command_prints_its_help(image: Image, command: str) -> None:
    done = run(image, Pod(), [*command.split(), "--help"])
    assert done.returncode == 0, done.stderr
    assert "--help" in done.stdout


def test_every_module_can_be_imported(image: Image) -> None:
    """No part of the standard library that our modules import is missing."""
    done = run_program(image, Pod(), [_python(image), "-c", EVERY_MODULE])
    assert done.returncode == 0, done.stderr
    assert {"wisp.entra.exchange", "wisp.webhook.app", "wisp.redirect.apply"} <= set(done.stdout.split())


def _python(image: Image) -> str:
    first = (image.root / "proxy").read_text().splitlines()[0]
    return first.removeprefix("#!").split()[0]


@pytest.mark.parametrize(
    "command", [("/proxy",), ("/wisp", "proxy"), ("/wisp",)], ids=["drop-in", "named", "entry point"]
)
def test_sidecar_gives_a_token_without_privileges(image: Image, tmp_path: Path, command: tuple[str, ...]) -> None:
    """It runs as user 1501 with a read-only root and no capability, answers the probe and stops on SIGTERM."""
    with Authority(tmp_path) as authority:
        given = pod(tmp_path, authority.url)
        inside = Pod(
            environment={**given.environment, "AZURE_FEDERATED_TOKEN_FILE": TOKEN},
            files={given.token_file: TOKEN, authority.ca_file: CA},
        )
        port = free_port()
        flags = (f"--proxy-port={port}", "--log-level=debug")
        log = tmp_path / "log"
        with running(image, inside, [*command, *flags, f"--authority-ca={CA}"], log) as pid:
            probed = run_program(image, Pod(), ["/proxy", flags[0], "--probe", flags[1]])
            assert probed.returncode == 0, probed.stderr + log.read_text()
            answer = Sidecar(None, port, log).token()  # type: ignore[arg-type]  # asks only; the process is crun's
            assert answer.status == 200, answer.body
            _check_confinement(pid)
            memory = Memory.of(pid)
            assert memory.anonymous <= 7.0, memory
    assert '"event":"stopped"' in log.read_text()


def _check_confinement(pid: int) -> None:
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    assert status["Uid"].split() == ["1501"] * 4
    assert status["Gid"].split() == ["1501"] * 4
    assert {status[name] for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"


def test_redirect_is_installed_with_net_admin_alone(image: Image, network: str) -> None:
    """It runs as root. The plan is what it installs."""
    inside = Pod(user=0, capabilities=["CAP_NET_ADMIN"], network=network)
    planned = run(image, Pod(), ["redirect", "plan", "--proxy-port=8123"])
    assert "redirect to :8123" in planned.stdout, planned.stderr
    assert "conntrack --delete" in planned.stdout
    done = run(image, inside, ["redirect", "up", "--proxy-port=8123"])
    assert (done.returncode, done.stderr) == (0, ""), done
    listed = run(image, inside, ["redirect", "show", "--json"])
    assert (listed.returncode, "8123" in listed.stdout) == (0, True), listed
    rules = subprocess.run(
        ["nsenter", f"--net={network}", "nft", "list", "ruleset"], capture_output=True, text=True, check=True
    )
    assert "redirect to :8123" in rules.stdout


@pytest.mark.parametrize("flags", [(), ("--proxy-port=8123",)], ids=["without options", "as in pods"])
def test_redirect_without_net_admin_fails_with_the_reason(image: Image, network: str, flags: tuple[str, ...]) -> None:
    done = run(image, Pod(user=0, network=network), ["redirect", "up", *flags])
    assert done.returncode == 3
    assert "NET_ADMIN" in done.stderr


def test_review_command_works_without_a_cluster(image: Image) -> None:
    """The image has everything that `wisp webhook review` needs."""
    review = (
        '{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1","operation":"CREATE",'
        '"kind":{"group":"","version":"v1","kind":"Pod"},"namespace":"default","object":{"apiVersion":"v1",'
        '"kind":"Pod","metadata":{"name":"a","labels":{"azure.workload.identity/use":"true"}},'
        '"spec":{"containers":[{"name":"a","image":"a"}]}}}}\n'
    )
    accounts = image.root.parent / "accounts.yaml"
    accounts.write_text("{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: default}}\n")
    inside = Pod(files={accounts: "/var/run/accounts.yaml"})
    options = ["--service-accounts", "/var/run/accounts.yaml", "--tenant-id", "0f1e2d3c-0000-4000-8000-000000000001"]
    done = run(image, inside, ["webhook", "review", *options], review)
    assert done.returncode == 0, done.stderr
    assert '"allowed":true' in done.stdout


def test_configuration_has_user_and_entry_point(image: Image) -> None:
    """The user is a number, since kubelet's runAsNonRoot cannot look up a name; programs start without a shell."""
    assert image.config.user == "1501:1501"
    assert image.config.entrypoint == ("/wisp",)


def test_image_has_no_shell_and_no_unneeded_program(image: Image) -> None:
    """It also has no package manager, compiler, setuid file or device."""
    members = [member for member, _ in files(image.archive)]
    programs = {Path(file.name).name for file in members if file.isfile() and _is_program(file.name, file.mode)}
    assert not NOBODY_NEEDS & programs
    assert programs == {"nft", "conntrack", Path(_python(image)).name, "proxy", "wisp"}
    assert not [file.name for file in members if file.mode & 0o6000]
    assert not [file.name for file in members if file.mode & 0o002 and file.name != "tmp" and not file.issym()]
    assert {(file.uid, file.gid) for file in members} == {(0, 0)}
    assert not [file.name for file in members if file.isdev()]


def _is_program(name: str, mode: int) -> bool:
    is_library = ".so" in Path(name).name or "lib" in Path(name).parts
    return bool(mode & 0o111) and not is_library


def test_every_module_is_compiled_without_source_checks(image: Image) -> None:
    """A read-only root could not keep byte code compiled later."""
    sources = [path for path in image.root.rglob("*.py") if "lib-dynload" not in path.parts]
    assert len(sources) > 500
    for source in sources:
        (compiled,) = (source.parent / "__pycache__").glob(f"{source.stem}.cpython-*.pyc")
        assert compiled.read_bytes()[4:8] == b"\1\0\0\0", compiled  # PEP 552: by hash, unchecked


def test_byte_code_has_only_paths_of_the_image(image: Image) -> None:
    compiled = next((image.root / "usr").rglob("wisp/proxy/__pycache__/app.*.pyc"))
    paths = re.findall(rb"/[\w./-]+app\.py", compiled.read_bytes())
    assert paths
    assert all((image.root / path.decode().lstrip("/")).exists() for path in paths)


def test_sidecar_is_ready_before_it_reaches_entra(image: Image, tmp_path: Path) -> None:
    given = pod(tmp_path, "https://127.0.0.1:1/")
    inside = Pod(
        environment={**given.environment, "AZURE_FEDERATED_TOKEN_FILE": TOKEN}, files={given.token_file: TOKEN}
    )
    port = free_port()
    with running(image, inside, ["/proxy", f"--proxy-port={port}"], tmp_path / "log"):
        wait_until(lambda: probe(port) is None)
