"""The keys and certificates of a cluster: who is who by subject (Kubernetes, "PKI certificates").

Nothing is written here. All keys are P-256 but the one that signs service account tokens: Entra takes RS256 only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from wisp_local.cloud.certificates import general_name
from wisp_local.lab.node.dns import USER
from wisp_local.lab.node.network import API_SERVICE, NODE, Network

_LIFE = timedelta(days=365)
_BACKDATE = timedelta(minutes=5)
_PEM = serialization.Encoding.PEM


@dataclass(frozen=True)
class Subject:
    """Whom a certificate is for: a user by `name` and `group`, and a server by `hosts`."""

    name: str
    group: str = ""
    hosts: tuple[str, ...] = ()


def subjects(network: Network) -> Mapping[str, Subject]:
    """Return every certificate of the cluster by the name of its files."""
    own = ("localhost", "127.0.0.1", network.node)
    service = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", API_SERVICE)
    return {
        "apiserver": Subject("kube-apiserver", hosts=(*own, *service)),
        "admin": Subject("admin", group="system:masters"),
        "kube-controller-manager": Subject("system:kube-controller-manager"),
        "kube-scheduler": Subject("system:kube-scheduler"),
        "kube-proxy": Subject("system:kube-proxy"),
        "coredns": Subject(USER),
        "kubelet": Subject(f"system:node:{NODE}", group="system:nodes", hosts=(NODE, *own)),
    }


def new_files(network: Network, now: float) -> dict[str, bytes]:
    """Make all of it, valid for a year from `now` (Unix seconds): file names and contents."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "wisp lab cluster CA")])
    start = datetime.fromtimestamp(int(now), UTC)
    authority = _Authority(key, name, start)
    files = {"ca.crt": authority.certificate.public_bytes(_PEM)}
    for file, subject in subjects(network).items():
        made = ec.generate_private_key(ec.SECP256R1())
        files[f"{file}.key"] = _private(made)
        files[f"{file}.crt"] = authority.issue(subject, made.public_key()).public_bytes(_PEM)
    signing = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = signing.public_key().public_bytes(_PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return {**files, "service-accounts.key": _private(signing), "service-accounts.pub": public}


@dataclass(frozen=True)
class _Authority:
    key: ec.EllipticCurvePrivateKey
    name: x509.Name
    start: datetime

    @property
    def certificate(self) -> x509.Certificate:
        builder = self._builder(self.name, self.key.public_key())
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        return builder.add_extension(constraints, critical=True).sign(self.key, hashes.SHA256())

    def issue(self, subject: Subject, public_key: ec.EllipticCurvePublicKey) -> x509.Certificate:
        groups = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, subject.group)] if subject.group else []
        name = x509.Name([*groups, x509.NameAttribute(NameOID.COMMON_NAME, subject.name)])
        usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = self._builder(name, public_key).add_extension(usages, critical=False)
        if subject.hosts:
            hosts = x509.SubjectAlternativeName([general_name(each) for each in subject.hosts])
            builder = builder.add_extension(hosts, critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def _builder(self, subject: x509.Name, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder(issuer_name=self.name, subject_name=subject, public_key=public_key)
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(self.start - _BACKDATE).not_valid_after(self.start + _LIFE)
        own, issuer = (_key_id(each) for each in (public_key, self.key.public_key()))
        authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer)
        return builder.add_extension(own, critical=False).add_extension(authority, critical=False)


def _key_id(key: ec.EllipticCurvePublicKey) -> x509.SubjectKeyIdentifier:
    return x509.SubjectKeyIdentifier.from_public_key(key)


def _private(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    # Kubernetes reads PKCS #1 and SEC 1 as well as PKCS #8; this is the one that suits both kinds of key.
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
