"""`--client-ca`: the review port serves only clients with a certificate of that CA."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.support.certificates import server_certificate
from tests.support.waiting import wait_until
from tests.unit.wisp.kubernetes.apiserver import running, service_account
from tests.unit.wisp.webhook.line import Line, listening, presented
from tests.unit.wisp.webhook.process import CLIENT_ID, SERVICE, review, trusted, webhook
from wisp.cli import main

_PEM = serialization.Encoding.PEM
TENANT = "22222222-2222-4222-8222-222222222222"


@pytest.fixture(name="anyio_backend")
def _anyio_backend() -> tuple[str, dict[str, bool]]:
    """Run tests on the loop that the webhook has."""
    return "asyncio", {"use_uvloop": True}


class Identity(NamedTuple):
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> str:
        """The certificate."""
        return self.certificate.public_bytes(_PEM).decode()


def issue(
    name: str,
    issuer: Identity | None = None,
    *,
    usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
    days: int = 10,
) -> Identity:
    """Make a certificate that began five days ago and ends after so many days; a CA if nobody issues it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = datetime.now(UTC) - timedelta(days=5)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if issuer is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    return Identity(builder.sign(key if issuer is None else issuer.key, hashes.SHA256()), key)


CA = issue("API servers")
CLIENTS = {
    "valid": issue("kube-apiserver", CA),
    "none": None,
    "expired": issue("kube-apiserver", CA, days=2),
    "of another CA": issue("kube-apiserver", issue("API servers")),
    "self-signed": issue("kube-apiserver"),
    "for servers only": issue("kube-apiserver", CA, usage=ExtendedKeyUsageOID.SERVER_AUTH),
}


def show(context: ssl.SSLContext, identity: Identity | None, folder: Path) -> ssl.SSLContext:
    """Let a client present a certificate."""
    if identity is not None:
        file = folder / "client.pem"
        key = identity.key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        file.write_bytes(identity.pem.encode() + key)
        context.load_cert_chain(file)
    return context


async def served(line: Line, context: ssl.SSLContext) -> bool:
    """Say whether a request is answered; a failure is one of the handshake."""
    try:
        await (await line.connect(tls=context)).get()
    except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
        return False
    return True


@pytest.mark.anyio
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
@pytest.mark.parametrize("rotated", [False, True], ids=["first certificate", "rotated"])
@pytest.mark.parametrize("kind", CLIENTS)
async def test_only_clients_of_the_ca_are_served(
    kind: str, version: ssl.TLSVersion, tmp_path: Path, *, rotated: bool
) -> None:
    """Whatever the server's certificate is at that moment, and however the client asks for it."""
    server, context = presented(CA.pem, minimum="1.2")
    if rotated:
        certificate = server_certificate(SERVICE)
        server.show(certificate.chain, certificate.key)
        context = ssl.create_default_context(cadata=certificate.ca.decode())
    context.minimum_version = context.maximum_version = version
    show(context, CLIENTS[kind], tmp_path)
    async with listening(tls=server) as line:
        assert await served(line, context) == (kind == "valid")
        assert bool(line.application.answered) == (kind == "valid")


@pytest.mark.anyio
async def test_clients_of_each_ca_in_the_file_are_served(tmp_path: Path) -> None:
    """All of them count, and text around them, in any language, does not matter."""
    other = issue("another")
    server, context = presented(f"# für API-Server\n{other.pem}\n# und\n{CA.pem}".encode().decode("ascii", "ignore"))
    show(context, CLIENTS["valid"], tmp_path)
    async with listening(tls=server) as line:
        assert await served(line, context)


@pytest.mark.system
def test_client_certificates_are_required_for_reviews_only(tmp_path: Path) -> None:
    """Probes need none."""
    (tmp_path / "ca.pem").write_text(f"# für API-Server\n{CA.pem}", encoding="utf-8")
    with running() as api:
        api.world.put("serviceaccounts", service_account("web", client_id=CLIENT_ID))
        with webhook(api, tmp_path, "--client-ca", str(tmp_path / "ca.pem")) as hook:
            hook.await_ready()
            with pytest.raises(ssl.SSLError, match=r"(?i)certificate.required"):
                hook.review(review(), trusted(api))
            context = show(trusted(api), CLIENTS["valid"], tmp_path)
            assert hook.review(review(), context)["allowed"] is True
            api.world.delete("secrets", "wisp-webhook-certificate", "wisp")
            wait_until(lambda: len(hook.events("certificate in use")) == 2, "there is a new certificate")
            assert hook.review(review(), show(trusted(api), CLIENTS["valid"], tmp_path))["allowed"] is True
            with pytest.raises(ssl.SSLError, match=r"(?i)certificate.required"):
                hook.review(review(), trusted(api))


@pytest.mark.parametrize(
    "content, words",
    [
        pytest.param(None, "no such file", id="missing"),
        pytest.param("", "does not hold a CA certificate", id="empty"),
        pytest.param("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----", "does not hold", id="broken"),
    ],
)
def test_unusable_client_ca_file_is_an_error_at_start(
    content: str | None, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says which file, what is wrong with it, and what to do."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with running() as api:
        kubeconfig = api.write_kubeconfig(tmp_path / "kubeconfig")
        flags = ["--namespace", "n", "--kubeconfig", str(kubeconfig), "--client-ca", str(path)]
        assert main(["webhook", "--tenant-id", TENANT, *flags]) == 2
    text = capsys.readouterr().err
    assert str(path) in text
    assert words in text
    assert "PEM" in text
