"""API servers attached to the lab's clusters: the user's own, and the lab's."""

import base64
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import urllib3
import yaml

from tests.unit.wisp_local.cloud.asgi import FORM
from tests.unit.wisp_local.cloud.process import workload
from tests.unit.wisp_local.cloud.small_azure import ARM
from tests.unit.wisp_local.lab.conftest import NewLab
from tests.unit.wisp_local.lab.fake_kubernetes import FakeCluster, FakeKubernetes, make_kubectl
from tests.unit.wisp_local.lab.lab_command import LabCommand
from wisp.base.errors import ToolError, WispError
from wisp_local.cloud.cluster import ANY, GATEWAY_SUBJECT
from wisp_local.cloud.kubeconfig import read_kubeconfig
from wisp_local.cloud.state.store import Store
from wisp_local.lab.cloud_process import local_url
from wisp_local.lab.cluster import GATEWAY_KINDS, ISSUER, ApiServer, Lab, plain_manifest
from wisp_local.lab.lifecycle import down, inspect, load_images, up
from wisp_local.lab.paths import LabPaths
from wisp_local.lab.record import NO_CLUSTER, AttachedCluster, UpOptions, problems

ISSUER_URL = "https://kubernetes.default.svc.cluster.local"
PROBE = (
    "run wisp-probe --image=wisp --restart=Never --labels=azure.workload.identity/use=true --dry-run=server "
    "--output=name"
)


@pytest.fixture(name="kubernetes")
def _kubernetes(tmp_path: Path) -> FakeKubernetes:
    """Give a cluster of the user's own."""
    return FakeKubernetes(tmp_path / "kubernetes", ISSUER_URL)


@pytest.fixture(name="programs")
def _programs(tmp_path: Path) -> Path:
    """Give a folder with a kubectl."""
    return make_kubectl(tmp_path / "programs")


def test_api_server_is_asked_for_its_issuer_and_keys(kubernetes: FakeKubernetes, programs: Path) -> None:
    """At their well-known paths."""
    server = ApiServer(kubernetes.kubeconfig, {"PATH": str(programs), "KUBECACHEDIR": "/cache"})
    attachment = server.attachment()
    assert (attachment.issuer_url, attachment.key_set) == (ISSUER_URL, kubernetes.keys)
    assert (attachment.cluster, attachment.kubeconfig) == (ANY, read_kubeconfig(kubernetes.kubeconfig))
    assert kubernetes.kubectl_calls() == ["get --raw /.well-known/openid-configuration", "get --raw /openid/v1/jwks"]


def test_missing_kubectl_is_reported(kubernetes: FakeKubernetes, tmp_path: Path) -> None:
    """The hint says where to get it."""
    with pytest.raises(ToolError, match=r"there is no kubectl on PATH: install it: https://kubernetes.io"):
        ApiServer(kubernetes.kubeconfig, {"PATH": str(tmp_path)}).attachment()


def test_api_server_that_does_not_answer_is_reported(kubernetes: FakeKubernetes, programs: Path) -> None:
    """With the error of kubectl, and the kubeconfig to check."""
    kubernetes.stop_answering("openid-v1-jwks")
    with pytest.raises(WispError) as caught:
        ApiServer(kubernetes.kubeconfig, {"PATH": str(programs), "KUBECACHEDIR": "/cache"}).attachment()
    assert caught.value.problem == (
        "`kubectl get --raw /openid/v1/jwks` failed "
        "(Unable to connect to the server: dial tcp 127.0.0.1:6443: connect: connection refused)"
    )
    assert caught.value.hint == f"make it work with {kubernetes.kubeconfig}"


@pytest.mark.parametrize("document", ["", "{}", "[]", "issuer"])
def test_api_server_without_an_issuer_is_reported(kubernetes: FakeKubernetes, programs: Path, document: str) -> None:
    """Issuer discovery may be switched off, or another server answers."""
    (kubernetes.kubeconfig.parent / ".well-known-openid-configuration").write_text(document)
    with pytest.raises(WispError, match="does not name the issuer of its tokens"):
        ApiServer(kubernetes.kubeconfig, {"PATH": str(programs), "KUBECACHEDIR": "/cache"}).attachment()


@pytest.fixture(name="lab")
def _lab(new_lab: NewLab, programs: Path) -> LabCommand:
    """Give a lab whose user has a kubectl."""
    return new_lab(PATH=f"{programs}:{os.environ['PATH']}")


@pytest.mark.system
def test_cluster_of_a_kubeconfig_is_attached(lab: LabCommand, kubernetes: FakeKubernetes) -> None:
    """To every managed cluster, with its issuer and keys. The webhook's manifest is ready to be applied."""
    output = lab.up("--kubeconfig", str(kubernetes.kubeconfig), "--host=127.0.0.2", "--image=registry.test/wisp:1")
    assert f"that of {kubernetes.kubeconfig}" in output
    assert f"kubectl --kubeconfig={kubernetes.kubeconfig} apply --filename='{lab.folder / 'wisp.yaml'}'" in output
    assert "pods cannot reach" not in output
    with Store(lab.folder / "cloud.db") as store:
        attachment = store.clusters.attachment("any cluster")
        tenant_id, certificate = store.tenant().id, store.authority.certificate_pem.decode()
    assert attachment is not None
    assert (attachment.cluster, attachment.issuer_url, attachment.key_set) == (ANY, ISSUER_URL, kubernetes.keys)
    assert "not-a-real-one" in attachment.kubeconfig
    status = lab.status()
    assert status["cluster"] == {"kind": "kubeconfig", "kubeconfig": str(kubernetes.kubeconfig)}
    container = _container(lab.folder / "wisp.yaml")
    assert container["image"] == "registry.test/wisp:1"
    assert f"--tenant-id={tenant_id}" in container["args"]
    assert f"--authority-host={status['running']['advertisedUrl']}/" in container["args"]
    assert certificate in (
        document["data"]["ca.crt"] for document in _documents(lab) if document["kind"] == "ConfigMap"
    )


def _documents(lab: LabCommand) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((lab.folder / "wisp.yaml").read_text()))


def _container(manifest: Path, name: str = "wisp") -> dict[str, Any]:
    (deployment,) = (
        document
        for document in yaml.safe_load_all(manifest.read_text())
        if (document["kind"], document["metadata"]["name"]) == ("Deployment", name)
    )
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert isinstance(container, dict)
    return container


def _deployments(manifest: Path) -> list[str]:
    documents = yaml.safe_load_all(manifest.read_text())
    return [document["metadata"]["name"] for document in documents if document["kind"] == "Deployment"]


@pytest.mark.system
def test_only_the_labs_own_login_gets_the_kubeconfig(lab: LabCommand, kubernetes: FakeKubernetes) -> None:
    """Over HTTPS, as az asks. The identity of a pod is refused, whose token is valid for other requests."""
    lab.up("--kubeconfig", str(kubernetes.kubeconfig), "--port=0")
    url = lab.status()["running"]["url"]
    pod = workload(lab.folder / "cloud.db", url)
    with Store(lab.folder / "cloud.db") as store:
        login, group = (
            store.principals.named("wisp-lab"),
            f"{url}/subscriptions/{store.subscription().id}/resourceGroups/g",
        )
    cluster = f"{group}/providers/Microsoft.ContainerService/managedClusters/c"
    secret = (lab.folder / "login.secret").read_text()
    body = {"location": "eastus", "properties": {}}
    with urllib3.PoolManager(ca_certs=str(lab.folder / "cloud.db.ca.pem")) as pool:

        def bearer(form: bytes) -> dict[str, str]:
            headers = {"Content-Type": FORM}
            answer = pool.request("POST", f"{url}/{pod.tenant}/oauth2/v2.0/token", body=form, headers=headers)
            return {"Authorization": f"Bearer {answer.json()['access_token']}"}

        def ask(method: str, target: str, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
            return pool.request(method, f"{target}?api-version=2024-11-01", json=body, headers=headers)

        own = bearer(
            urlencode(
                {
                    "grant_type": "client_credentials",
                    "client_id": login.client_id,
                    "client_secret": secret,
                    "scope": f"{ARM}/.default",
                }
            ).encode()
        )
        identity = bearer(pod.form())
        assert ask("PUT", group, own).status == 201
        assert ask("PUT", cluster, own).status == 201
        for kind in ("User", "Admin"):
            refused = ask("POST", f"{cluster}/listCluster{kind}Credential", identity)
            assert (refused.status, refused.json()["error"]["code"]) == (403, "AuthorizationFailed")
            (given,) = ask("POST", f"{cluster}/listCluster{kind}Credential", own).json()["kubeconfigs"]
            assert "not-a-real-one" in base64.b64decode(given["value"]).decode()
        assert ask("GET", group, identity).status == 200


@pytest.mark.system
def test_attached_cluster_stays_until_it_is_detached(lab: LabCommand, kubernetes: FakeKubernetes) -> None:
    """`up` asks it again. With --no-cluster, the cloud keeps running."""
    lab.up("--kubeconfig", str(kubernetes.kubeconfig))
    lab.run("down")
    assert "pods cannot reach 127.0.0.1" in lab.up()
    pid = lab.pid
    assert lab.status()["cluster"]["kind"] == "kubeconfig"
    assert "none: `az aks create` makes a record" in lab.up("--no-cluster")
    assert (lab.pid, lab.status()["cluster"]["kind"]) == (pid, "none")
    assert not (lab.folder / "wisp.yaml").exists()
    with Store(lab.folder / "cloud.db") as store:
        assert store.clusters.attachment("any cluster") is None


@pytest.mark.system
def test_api_server_that_stops_answering_is_a_problem(lab: LabCommand, kubernetes: FakeKubernetes) -> None:
    """In the status. `up` fails before it starts anything."""
    lab.up("--kubeconfig", str(kubernetes.kubeconfig))
    kubernetes.stop_answering()
    (problem,) = lab.status()["problems"]
    assert problem.startswith("`kubectl get --raw /readyz` failed (Unable to connect")
    assert problem.endswith(f"make it work with {kubernetes.kubeconfig}")
    lab.run("down")
    kubernetes.stop_answering("openid-v1-jwks")
    done = lab.run("up")
    assert done.returncode == 1
    assert "`kubectl get --raw /openid/v1/jwks` failed" in done.stderr
    assert lab.status()["running"] is None


@pytest.fixture(name="cluster")
def _cluster(tmp_path: Path) -> FakeCluster:
    """Give the cluster of `own_lab`."""
    return FakeCluster(LabPaths(tmp_path / "lab"), tmp_path / "own")


@pytest.fixture(name="own_lab")
def _own_lab(tmp_path: Path, programs: Path, cluster: FakeCluster) -> Iterator[Lab]:
    """Give a lab that can start a cluster itself."""
    lab = Lab(LabPaths(tmp_path / "lab"), {"PATH": f"{programs}:{os.environ['PATH']}"}, cluster)
    yield lab
    down(lab)


@pytest.mark.system
def test_own_cluster_gets_issuer_and_webhook(own_lab: Lab, cluster: FakeCluster) -> None:
    """The cloud listens where pods reach it, runs the cluster's issuer, and publishes its keys."""
    started = up(
        own_lab,
        UpOptions(port=0, cluster=AttachedCluster(own=True), image_archive="/wisp.tar", load=("/a.tar", "/b.tar")),
    )
    assert cluster.calls == ["prepare /wisp.tar /a.tar /b.tar", "start", "load_images /a.tar /b.tar"]
    assert started.cloud.url == f"https://127.0.0.2:{started.cloud.listening.port}"
    with Store(own_lab.paths.state) as store:
        issuer = store.issuers.named(ISSUER)
        attachment = store.clusters.attachment("any cluster")
    assert cluster.running is not None
    assert attachment is not None
    assert (attachment.issuer_url, attachment.key_set) == (started.cloud.url + issuer.path, cluster.running.keys)
    for base in (started.cloud.url, local_url(started.cloud.listening)):
        assert _get(own_lab, f"{base}{issuer.path}openid/v1/jwks") == cluster.running.keys
    assert cluster.running.kubectl_calls()[-3:-1] == [
        f"apply --filename={own_lab.paths.manifest}",
        "rollout status deployment/wisp --namespace=wisp-system --timeout=180s",
    ]
    assert cluster.running.kubectl_calls()[-1] == PROBE
    assert f"--authority-host={started.cloud.url}/" in _container(own_lab.paths.manifest)["args"]
    assert problems(inspect(own_lab)) == []


def _get(lab: Lab, url: str) -> str:
    with urllib3.PoolManager(ca_certs=str(lab.paths.authority), retries=False) as pool:
        return pool.request("GET", url).data.decode()


@pytest.mark.system
def test_own_cluster_has_the_gateway_until_it_is_switched_off(own_lab: Lab, cluster: FakeCluster) -> None:
    """`up` waits until pods can use it. Another `up` keeps it."""
    own = AttachedCluster(own=True)
    started = up(own_lab, UpOptions(port=0, cluster=own, image="registry.test/wisp:1", gateway=True))
    assert cluster.running is not None
    assert started.issuer_url == f"{started.cloud.url}{_issuer_path(own_lab)}"
    assert cluster.running.kubectl_calls()[-2:] == [
        "rollout status deployment/wisp-gateway --namespace=wisp-system --timeout=180s",
        f"{PROBE} --annotations=azure.workload.identity/use-identity-binding=true",
    ]
    gateway = _container(own_lab.paths.manifest, "wisp-gateway")
    assert gateway["image"] == "registry.test/wisp:1"
    assert {"name": "AZURE_AUTHORITY_HOST", "value": f"{started.cloud.url}/"} in gateway["env"]
    up(own_lab, UpOptions())
    assert not any(call.startswith("delete") for call in cluster.running.kubectl_calls())
    up(own_lab, UpOptions(gateway=False))
    assert _deployments(own_lab.paths.manifest) == ["wisp"]
    (deletion,) = (call for call in cluster.running.kubectl_calls() if call.startswith("delete"))
    assert deletion == (
        f"delete {GATEWAY_KINDS} --namespace=wisp-system "
        "--selector=app.kubernetes.io/name=wisp,app.kubernetes.io/component=gateway"
    )


def _issuer_path(lab: Lab) -> str:
    with Store(lab.paths.state) as store:
        return store.issuers.named(ISSUER).path


def test_every_object_of_the_gateway_is_deleted_with_it() -> None:
    """No object of the webhook has the labels by which they are selected."""
    manifests = [yaml.safe_load_all(plain_manifest(gateway=gateway)) for gateway in (False, True)]
    webhook, both = ({(document["kind"], document["metadata"]["name"]): document for document in m} for m in manifests)
    assert set(webhook) <= set(both)
    labelled = {
        key
        for key, document in both.items()
        if document["metadata"]["labels"].get("app.kubernetes.io/component") == "gateway"
    }
    assert labelled == set(both) - set(webhook)
    assert {kind.lower() for kind, _ in labelled} == set(GATEWAY_KINDS.split(","))


@pytest.mark.system
def test_gateway_is_in_the_manifest_for_the_users_cluster(lab: LabCommand, kubernetes: FakeKubernetes) -> None:
    """What to trust is printed: the issuer, and the gateway's service account."""
    attached = ("--kubeconfig", str(kubernetes.kubeconfig), "--host=127.0.0.2")
    output = lab.up(*attached, "--gateway")
    assert f"  gateway  {GATEWAY_SUBJECT} (" in output
    assert f"  issuer   {ISSUER_URL}\n" in output
    assert _deployments(lab.folder / "wisp.yaml") == ["wisp", "wisp-gateway"]
    assert f"gateway     {GATEWAY_SUBJECT}" in lab.run("status").stdout
    assert GATEWAY_SUBJECT in lab.up()
    assert GATEWAY_SUBJECT not in lab.up("--no-gateway")
    assert _deployments(lab.folder / "wisp.yaml") == ["wisp"]


@pytest.mark.system
def test_own_cluster_that_ended_is_reported_and_started_again(own_lab: Lab, cluster: FakeCluster) -> None:
    """The cloud keeps running."""
    first = up(own_lab, UpOptions(port=0, cluster=AttachedCluster(own=True)))
    cluster.running = None
    own_lab.paths.kubeconfig.write_text("the credentials of a cluster that is gone")
    cluster.folder = cluster.folder.with_name("second")
    assert problems(inspect(own_lab)) == ["the lab's cluster has ended: `wisp lab up` starts a new one"]
    second = up(own_lab, UpOptions())
    assert second.already
    assert second.cloud == first.cloud
    assert cluster.is_running()
    assert not own_lab.paths.kubeconfig.exists()
    own_lab.paths.kubeconfig.write_text("the credentials of the one that runs")
    up(own_lab, UpOptions())
    assert own_lab.paths.kubeconfig.exists()


@pytest.mark.system
def test_down_ends_cloud_and_cluster(own_lab: Lab, cluster: FakeCluster) -> None:
    """Detaching the cluster ends only the cluster."""
    up(own_lab, UpOptions(port=0, cluster=AttachedCluster(own=True)))
    assert down(own_lab)
    assert not cluster.is_running()
    assert inspect(own_lab).record is not None
    up(own_lab, UpOptions(cluster=NO_CLUSTER))
    assert cluster.calls[3:] == ["stop", "stop"]
    assert not own_lab.paths.manifest.exists()


@pytest.mark.system
def test_images_are_loaded_into_a_running_cluster(own_lab: Lab, cluster: FakeCluster) -> None:
    """The names of the images are given."""
    up(own_lab, UpOptions(port=0, cluster=AttachedCluster(own=True)))
    names = list(load_images(own_lab, {"a.tar": Path("/here/a.tar"), "standard input": Path("/dev/stdin")}))
    assert names == ["docker.io/library/a:1", "docker.io/library/stdin:1"]
    assert cluster.calls[-2:] == ["load /here/a.tar a.tar", "load /dev/stdin standard input"]


@pytest.mark.system
def test_images_are_not_loaded_without_a_running_cluster(
    own_lab: Lab, cluster: FakeCluster, kubernetes: FakeKubernetes
) -> None:
    """Every error says how to start one."""

    def problem() -> str:
        with pytest.raises(WispError) as caught:
            list(load_images(own_lab, {"a.tar": Path("/a.tar")}))
        return str(caught.value)

    no_lab = f"no lab runs in {own_lab.paths.folder}: `wisp lab up --cluster` starts one with a cluster"
    assert problem() == no_lab
    up(own_lab, UpOptions(port=0))
    no_cluster = f"the lab in {own_lab.paths.folder} has no cluster of its own to load images into: "
    assert problem().startswith(f"{no_cluster}`wisp lab up --cluster` starts one")
    up(own_lab, UpOptions(cluster=AttachedCluster(kubeconfig=str(kubernetes.kubeconfig))))
    assert problem().startswith(no_cluster)
    down(own_lab)
    up(own_lab, UpOptions(cluster=AttachedCluster(own=True)))
    cluster.running = None
    assert problem() == "the lab's cluster has ended: `wisp lab up` starts a new one"
    down(own_lab)
    assert problem() == no_lab
    assert not any(call.startswith("load ") for call in cluster.calls)
