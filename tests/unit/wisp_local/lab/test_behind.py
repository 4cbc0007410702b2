"""A real API server behind the lab's clusters: the user's own, and the lab's."""

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
from tests.unit.wisp_local.cloud.world import ARM
from tests.unit.wisp_local.lab.cluster import FakeCluster, Kubernetes, make_kubectl
from tests.unit.wisp_local.lab.conftest import NewLab
from tests.unit.wisp_local.lab.lab import Lab
from wisp.base.errors import ToolError, WispError
from wisp_local.cloud.cluster import ANY
from wisp_local.cloud.state.store import Store
from wisp_local.lab.apiserver import ApiServer, Published
from wisp_local.lab.behind import ISSUER, Site
from wisp_local.lab.findings import problems
from wisp_local.lab.keeping import down, load, look, up
from wisp_local.lab.places import Places
from wisp_local.lab.record import NOTHING, Asked, Behind
from wisp_local.lab.serving import local_url

ISSUER_URL = "https://kubernetes.default.svc.cluster.local"


@pytest.fixture(name="kubernetes")
def _kubernetes(tmp_path: Path) -> Kubernetes:
    """Give a cluster of the user's own."""
    return Kubernetes(tmp_path / "kubernetes", ISSUER_URL)


@pytest.fixture(name="programs")
def _programs(tmp_path: Path) -> Path:
    """Give a folder with a kubectl."""
    return make_kubectl(tmp_path / "programs")


def test_what_an_api_server_publishes(kubernetes: Kubernetes, programs: Path) -> None:
    """Issuer and keys, each at its well-known path."""
    server = ApiServer(kubernetes.kubeconfig, {"PATH": str(programs), "KUBECACHEDIR": "/cache"})
    assert server.published() == Published(ISSUER_URL, kubernetes.keys)
    assert kubernetes.heard() == ["get --raw /.well-known/openid-configuration", "get --raw /openid/v1/jwks"]


def test_no_kubectl(kubernetes: Kubernetes, tmp_path: Path) -> None:
    """It is named, and where to get it."""
    with pytest.raises(ToolError, match=r"there is no kubectl on PATH: install it: https://kubernetes.io"):
        ApiServer(kubernetes.kubeconfig, {"PATH": str(tmp_path)}).published()


def test_an_api_server_that_does_not_answer(kubernetes: Kubernetes, programs: Path) -> None:
    """What kubectl said, and the command to try."""
    kubernetes.go_away("openid-v1-jwks")
    with pytest.raises(WispError) as caught:
        ApiServer(kubernetes.kubeconfig, {"PATH": str(programs), "KUBECACHEDIR": "/cache"}).published()
    assert caught.value.problem == (
        "`kubectl get --raw /openid/v1/jwks` failed "
        "(Unable to connect to the server: dial tcp 127.0.0.1:6443: connect: connection refused)"
    )
    assert caught.value.hint == f"see that it works with {kubernetes.kubeconfig}"


@pytest.mark.parametrize("said", ["", "{}", "[]", "issuer"])
def test_an_api_server_without_an_issuer(kubernetes: Kubernetes, programs: Path, said: str) -> None:
    """Issuer discovery may be switched off, or somebody else answers."""
    (kubernetes.kubeconfig.parent / ".well-known-openid-configuration").write_text(said)
    with pytest.raises(WispError, match="does not say who issues its tokens"):
        ApiServer(kubernetes.kubeconfig, {"PATH": str(programs), "KUBECACHEDIR": "/cache"}).published()


@pytest.fixture(name="kubed")
def _kubed(new_lab: NewLab, programs: Path) -> Lab:
    """Give a lab whose user has a kubectl."""
    return new_lab(PATH=f"{programs}:{os.environ['PATH']}")


@pytest.mark.system
def test_a_kubeconfig_of_ones_own(kubed: Lab, kubernetes: Kubernetes) -> None:
    """It is behind every cluster, with its issuer and keys; the webhook's manifest is ready to be applied."""
    said = kubed.up("--kubeconfig", str(kubernetes.kubeconfig), "--host=127.0.0.2", "--image=registry.test/wisp:1")
    assert f"that of {kubernetes.kubeconfig}" in said
    assert f"kubectl --kubeconfig={kubernetes.kubeconfig} apply --filename='{kubed.folder / 'wisp.yaml'}'" in said
    assert "pods cannot reach" not in said
    with Store(kubed.folder / "cloud.db") as store:
        backing = store.clusters.attachment("any cluster")
        tenant_id, certificate = store.tenant().id, store.authority.certificate_pem.decode()
    assert backing is not None
    assert (backing.cluster, backing.issuer_url, backing.key_set) == (ANY, ISSUER_URL, kubernetes.keys)
    assert "not-a-real-one" in backing.kubeconfig
    status = kubed.status()
    assert status["cluster"] == {"kind": "kubeconfig", "kubeconfig": str(kubernetes.kubeconfig)}
    container = _container(kubed.folder / "wisp.yaml")
    assert container["image"] == "registry.test/wisp:1"
    assert f"--tenant-id={tenant_id}" in container["args"]
    assert f"--authority-host={status['running']['advertisedUrl']}/" in container["args"]
    assert certificate in (each["data"]["ca.crt"] for each in _documents(kubed) if each["kind"] == "ConfigMap")


def _documents(lab: Lab) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((lab.folder / "wisp.yaml").read_text()))


def _container(manifest: Path) -> dict[str, Any]:
    (deployment,) = (each for each in yaml.safe_load_all(manifest.read_text()) if each["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert isinstance(container, dict)
    return container


@pytest.mark.system
def test_only_the_labs_own_login_gets_the_kubeconfig(kubed: Lab, kubernetes: Kubernetes) -> None:
    """Over HTTPS, as az asks; a pod's identity, whose token is as good for anything else, is refused."""
    kubed.up("--kubeconfig", str(kubernetes.kubeconfig), "--port=0")
    url = kubed.status()["running"]["url"]
    pod = workload(kubed.folder / "cloud.db", url)
    with Store(kubed.folder / "cloud.db") as store:
        login, group = (
            store.principals.named("wisp-lab"),
            f"{url}/subscriptions/{store.subscription().id}/resourceGroups/g",
        )
    cluster = f"{group}/providers/Microsoft.ContainerService/managedClusters/c"
    secret = (kubed.folder / "login.secret").read_text()
    body = {"location": "eastus", "properties": {}}
    with urllib3.PoolManager(ca_certs=str(kubed.folder / "cloud.db.ca.pem")) as pool:

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
def test_it_is_remembered_and_asked_again(kubed: Lab, kubernetes: Kubernetes) -> None:
    """What is not said stays; --no-cluster takes it away, while the cloud goes on."""
    kubed.up("--kubeconfig", str(kubernetes.kubeconfig))
    kubed.run("down")
    assert "pods cannot reach 127.0.0.1" in kubed.up()
    pid = kubed.pid
    assert kubed.status()["cluster"]["kind"] == "kubeconfig"
    assert "none: `az aks create` makes a record" in kubed.up("--no-cluster")
    assert (kubed.pid, kubed.status()["cluster"]["kind"]) == (pid, "none")
    assert not (kubed.folder / "wisp.yaml").exists()
    with Store(kubed.folder / "cloud.db") as store:
        assert store.clusters.attachment("any cluster") is None


@pytest.mark.system
def test_an_api_server_that_goes_away_is_seen(kubed: Lab, kubernetes: Kubernetes) -> None:
    """By status; and a lab that cannot be is not half started."""
    kubed.up("--kubeconfig", str(kubernetes.kubeconfig))
    kubernetes.go_away()
    (problem,) = kubed.status()["problems"]
    assert problem.startswith("`kubectl get --raw /readyz` failed (Unable to connect")
    assert problem.endswith(f"see that it works with {kubernetes.kubeconfig}")
    kubed.run("down")
    kubernetes.go_away("openid-v1-jwks")
    done = kubed.run("up")
    assert done.returncode == 1
    assert "`kubectl get --raw /openid/v1/jwks` failed" in done.stderr
    assert kubed.status()["running"] is None


@pytest.fixture(name="site")
def _site(tmp_path: Path, programs: Path) -> Iterator[Site]:
    """Give the place of a lab that has a cluster of its own."""
    environ = {"PATH": f"{programs}:{os.environ['PATH']}"}
    site = Site(Places(tmp_path / "lab"), environ, FakeCluster(tmp_path / "own"))
    yield site
    down(site)


@pytest.mark.system
def test_a_cluster_of_its_own(site: Site) -> None:
    """The cloud listens where its pods find it, runs its issuer, and publishes its keys; the webhook is put into it."""
    cluster = site.cluster
    assert isinstance(cluster, FakeCluster)
    stood = up(site, Asked(port=0, behind=Behind(own=True), image_archive="/wisp.tar", load=("/a.tar", "/b.tar")))
    assert cluster.done == ["prepare /wisp.tar /a.tar /b.tar", "start", "finish /a.tar /b.tar"]
    assert stood.cloud.url == f"https://127.0.0.2:{stood.cloud.listening.port}"
    with Store(site.places.state) as store:
        issuer = store.issuers.named(ISSUER)
        backing = store.clusters.attachment("any cluster")
    assert cluster.running is not None
    assert backing is not None
    assert (backing.issuer_url, backing.key_set) == (stood.cloud.url + issuer.path, cluster.running.keys)
    for base in (stood.cloud.url, local_url(stood.cloud.listening)):
        assert _published(site, f"{base}{issuer.path}openid/v1/jwks") == cluster.running.keys
    assert cluster.running.heard()[-3:-1] == [
        f"apply --filename={site.places.manifest}",
        "rollout status deployment/wisp --namespace=wisp-system --timeout=180s",
    ]
    assert cluster.running.heard()[-1].startswith("run wisp-probe --image=wisp")
    assert f"--authority-host={stood.cloud.url}/" in _container(site.places.manifest)["args"]
    seen, _ = look(site)
    assert problems(seen) == []


def _published(site: Site, url: str) -> str:
    with urllib3.PoolManager(ca_certs=str(site.places.authority), retries=False) as pool:
        return pool.request("GET", url).data.decode()


@pytest.mark.system
def test_a_cluster_that_ended_is_seen_and_started_again(site: Site) -> None:
    """While the cloud goes on."""
    cluster = site.cluster
    assert isinstance(cluster, FakeCluster)
    first = up(site, Asked(port=0, behind=Behind(own=True)))
    cluster.running = None
    site.places.kubeconfig.write_text("the credentials of a cluster that is gone")
    cluster.folder = cluster.folder.with_name("second")
    seen, _ = look(site)
    assert problems(seen) == ["the lab's cluster has ended: `wisp lab up` starts a new one"]
    second = up(site, Asked())
    assert second.already
    assert second.cloud == first.cloud
    assert cluster.is_running()
    assert not site.places.kubeconfig.exists()
    site.places.kubeconfig.write_text("the credentials of the one that runs")
    up(site, Asked())
    assert site.places.kubeconfig.exists()


@pytest.mark.system
def test_down_ends_both(site: Site) -> None:
    """And going without a cluster ends that alone."""
    cluster = site.cluster
    assert isinstance(cluster, FakeCluster)
    up(site, Asked(port=0, behind=Behind(own=True)))
    assert down(site)
    assert not cluster.is_running()
    assert look(site)[0].record is not None
    up(site, Asked(behind=NOTHING))
    assert cluster.done[3:] == ["stop", "stop"]
    assert not site.places.manifest.exists()


@pytest.mark.system
def test_images_are_loaded_into_a_running_cluster(site: Site) -> None:
    """Each archive by its name for people; the images' names are given."""
    up(site, Asked(port=0, behind=Behind(own=True)))
    names = list(load(site, {"a.tar": Path("/here/a.tar"), "standard input": Path("/dev/stdin")}))
    assert names == ["docker.io/library/a:1", "docker.io/library/stdin:1"]
    assert isinstance(site.cluster, FakeCluster)
    assert site.cluster.done[-2:] == ["load /here/a.tar a.tar", "load /dev/stdin standard input"]


@pytest.mark.system
def test_images_without_a_cluster_to_load_them_into(site: Site, kubernetes: Kubernetes) -> None:
    """Each error says how to get one, and nothing is loaded."""
    cluster = site.cluster
    assert isinstance(cluster, FakeCluster)

    def problem() -> str:
        with pytest.raises(WispError) as caught:
            list(load(site, {"a.tar": Path("/a.tar")}))
        return str(caught.value)

    no_lab = f"no lab runs in {site.places.folder}: `wisp lab up --cluster` starts one with a cluster"
    assert problem() == no_lab
    up(site, Asked(port=0))
    no_cluster = f"the lab in {site.places.folder} has no cluster of its own to load images into: "
    assert problem().startswith(f"{no_cluster}`wisp lab up --cluster` starts one")
    up(site, Asked(behind=Behind(kubeconfig=str(kubernetes.kubeconfig))))
    assert problem().startswith(no_cluster)
    down(site)
    up(site, Asked(behind=Behind(own=True)))
    cluster.running = None
    assert problem() == "the lab's cluster has ended: `wisp lab up` starts a new one"
    down(site)
    assert problem() == no_lab
    assert not any(each.startswith("load") for each in cluster.done)
