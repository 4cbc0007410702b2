"""Certificates of servers that tests start."""

import time
from typing import NamedTuple

from wisp.base.secret import Secret
from wisp.base.x509 import CertificateRequest, issue, new_authority


class ServerCertificate(NamedTuple):
    """A certificate, its key and the CA that clients must trust, as PEM."""

    ca: bytes
    chain: bytes
    key: Secret


def server_certificate(*hosts: str) -> ServerCertificate:
    """Issue a certificate for a day."""
    now = time.time()
    authority = new_authority("test CA", now=now, seconds=86400)
    server = issue(authority, CertificateRequest("test server", hosts), now=now, seconds=86400)
    return ServerCertificate(authority.certificate_pem, server.certificate_pem, Secret(server.key_pem.decode()))
