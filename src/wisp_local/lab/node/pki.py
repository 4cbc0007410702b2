"""The keys and certificates of a cluster: the subject is the user or component (Kubernetes, "PKI certificates").

Nothing is written here. All keys are P-256 except the one that signs service account tokens: Entra accepts only RS256.
"""

from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric import rsa

from wisp.base.x509 import SERVER_AND_CLIENT, CertificateRequest, issue, new_authority, private_pem, public_pem
from wisp_local.lab.node.network import API_SERVICE, DNS_USER, NODE, Network

_SECONDS = 365 * 86400.0


def subjects(network: Network) -> Mapping[str, CertificateRequest]:
    """Return every certificate of the cluster by the name of its files."""
    own = ("localhost", "127.0.0.1", network.node)
    service = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", API_SERVICE)
    return {
        "apiserver": _leaf("kube-apiserver", hosts=(*own, *service)),
        "admin": _leaf("admin", group="system:masters"),
        "kube-controller-manager": _leaf("system:kube-controller-manager"),
        "kube-scheduler": _leaf("system:kube-scheduler"),
        "kube-proxy": _leaf("system:kube-proxy"),
        "coredns": _leaf(DNS_USER),
        "kubelet": _leaf(f"system:node:{NODE}", group="system:nodes", hosts=(NODE, *own)),
    }


def _leaf(user: str, *, group: str = "", hosts: tuple[str, ...] = ()) -> CertificateRequest:
    return CertificateRequest(user, hosts, group, SERVER_AND_CLIENT)


def new_files(network: Network, now: float) -> dict[str, bytes]:
    """Return new keys and certificates by file name, valid for a year from `now` (Unix seconds)."""
    authority = new_authority("wisp lab cluster CA", now=now, seconds=_SECONDS)
    files = {"ca.crt": authority.certificate_pem}
    for file, leaf in subjects(network).items():
        made = issue(authority, leaf, now=now, seconds=_SECONDS)
        files |= {f"{file}.key": made.key_pem, f"{file}.crt": made.certificate_pem}
    signing = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return {
        **files,
        "service-accounts.key": private_pem(signing),
        "service-accounts.pub": public_pem(signing.public_key()),
    }
