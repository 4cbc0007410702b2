"""The certificate of a server whose clients read the CA in its Secret: against an API server, as the gateway has it."""

import asyncio
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.waiting import wait_until_async
from tests.unit.wisp.certificates.replicas import CertificateInUse, Events, NoLog
from tests.unit.wisp.certificates.test_verifiers import NAME, Case, served_to
from tests.unit.wisp.kubernetes.apiserver import ApiServer, running
from wisp.base.pem import pem_blocks
from wisp.certificates.controller import CertificateController, CertificateSpec, Stores
from wisp.certificates.decision import CertificateSet, Lifetimes
from wisp.certificates.issuer import IssuerProcess, Subject
from wisp.certificates.server import CertificateOptions, ServerCertificate
from wisp.certificates.store import CertificateSecret, certificates_in
from wisp.kubernetes.client import ApiClient
from wisp.kubernetes.config import from_kubeconfig

pytestmark = pytest.mark.system

SECRET = "wisp-gateway-certificate"
OPTIONS = CertificateOptions("wisp-gateway", "wisp", "wisp-gateway", SECRET)
YEAR = 365 * 86400.0


@pytest.fixture(name="api")
def _api() -> Iterator[ApiServer]:
    with running() as api:
        yield api


def client_of(api: ApiServer, folder: Path) -> ApiClient:
    """Return a client of the API server."""
    return ApiClient(from_kubeconfig(api.write_kubeconfig(folder / "kubeconfig")))


def stored(api: ApiServer) -> CertificateSet:
    """Return the certificates in the Secret."""
    return certificates_in(api.world.get("secrets", SECRET, "wisp"))


async def _until_in_use(api: ApiServer, folder: Path, times: int = 1) -> CertificateInUse:
    """Run a server's certificate, delete the Secret after each use but the last, and return what is in use then."""
    client, in_use, log = client_of(api, folder), CertificateInUse(), Events()
    certificate = ServerCertificate(OPTIONS, client, in_use, log)  # type: ignore[arg-type]  # a fake log

    def has_used(number: int) -> bool:
        return [event for event, _ in log.lines].count("certificate in use") == number

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(coroutine) for coroutine in certificate.coroutines(lambda *_: None)]
        for number in range(times):
            if number:
                await asyncio.to_thread(api.world.delete, "secrets", SECRET, "wisp")
            await wait_until_async(partial(has_used, number + 1))
            assert certificate.source.is_trusted
        for task in tasks:
            task.cancel()
    client.close()
    return in_use


def test_certificate_and_ca_are_in_the_secret_alone(api: ApiServer, tmp_path: Path) -> None:
    """The Secret has the server's label, and nothing else in the cluster is read."""
    in_use = asyncio.run(_until_in_use(api, tmp_path))
    assert in_use.chain == stored(api).chain
    metadata = api.world.get("secrets", SECRET, "wisp")["metadata"]
    assert metadata["labels"] == {"app.kubernetes.io/managed-by": "wisp-gateway"}
    assert served_to(Case(stored(api).bundle, stored(api))) == "wisp gateway"
    assert {request.split()[1].partition("?")[0].removesuffix(f"/{SECRET}") for request in api.world.requests} == {
        "/api/v1/namespaces/wisp/secrets"
    }


def test_empty_secret_is_filled(api: ApiServer, tmp_path: Path) -> None:
    """The chart makes it; its metadata stays."""
    metadata = {"name": SECRET, "namespace": "wisp", "labels": {"app.kubernetes.io/managed-by": "Helm"}}
    api.world.put("secrets", {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque"})
    asyncio.run(_until_in_use(api, tmp_path))
    assert api.world.get("secrets", SECRET, "wisp")["metadata"]["labels"] == metadata["labels"]
    assert stored(api).bundle


def test_next_replica_uses_what_is_there(api: ApiServer, tmp_path: Path) -> None:
    """Also after a restart."""
    first, second = (asyncio.run(_until_in_use(api, tmp_path)) for _ in range(2))
    assert first.chain == second.chain


def test_deleted_secret_is_made_again_and_old_clients_trust_it(api: ApiServer, tmp_path: Path) -> None:
    """The watch reports the deletion, and the CA in use certifies the new one."""
    asyncio.run(_until_in_use(api, tmp_path))
    before = stored(api)
    asyncio.run(_until_in_use(api, tmp_path, times=2))
    after = stored(api)
    assert after.chain != before.chain
    assert pem_blocks(after.bundle)[1:] == pem_blocks(before.bundle)
    for bundle in (before.bundle, after.bundle):
        assert served_to(Case(bundle, after)) == "wisp gateway"


def test_ca_is_replaced_while_clients_know_only_the_old_one(api: ApiServer, tmp_path: Path) -> None:
    """A server that began seven years ago, and runs again now: the CA is due, and the certificate has expired."""
    now = [time.time() - 7 * YEAR]

    async def settle() -> None:
        client = client_of(api, tmp_path)
        secret = CertificateSecret(client, namespace="wisp", name=SECRET, managed_by="wisp-gateway")
        spec = CertificateSpec(Subject("wisp gateway", (NAME,)), Lifetimes(), lambda: now[0])
        controller = CertificateController(Stores(secret), IssuerProcess(), CertificateInUse(), spec, NoLog())  # type: ignore[arg-type]  # a fake log
        while not await controller.step():
            pass
        client.close()

    asyncio.run(settle())
    first = stored(api)
    now[0] = time.time()
    asyncio.run(settle())
    second = stored(api)
    assert len(pem_blocks(second.bundle)) == len(pem_blocks(second.chain)) == 2
    for bundle in (first.bundle, second.bundle, pem_blocks(second.bundle)[0]):
        assert served_to(Case(bundle, second)) == "wisp gateway"
