"""The certificate of a server in a cluster: from files, or from a CA of its own in a Secret."""

import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from wisp.base.log import Log
from wisp.certificates.controller import CertificateController, CertificateSpec, CertificateUser, Stores
from wisp.certificates.decision import Lifetimes
from wisp.certificates.files import CertificateFiles
from wisp.certificates.issuer import IssuerProcess, Subject
from wisp.certificates.store import CertificateSecret, Publication
from wisp.kubernetes.client import ApiClient
from wisp.kubernetes.types import Resource
from wisp.kubernetes.watch import ChangeNotifier, Watcher


class CertificateOptions(NamedTuple):
    """The Service whose name the certificate has, and where the certificate is."""

    server: str
    """What the server is, such as wisp-webhook."""
    namespace: str
    service_name: str
    secret: str
    """Name of the Secret with the CA and the certificate."""
    folder: Path | None = None
    """Folder with the files to use instead."""
    lifetimes: Lifetimes = Lifetimes()

    @property
    def subject(self) -> Subject:
        """What certificates are issued for: the names by which clients call the Service."""
        base = f"{self.service_name}.{self.namespace}"
        names = self.service_name, base, f"{base}.svc", f"{base}.svc.cluster.local"
        return Subject(self.server.replace("-", " "), names)


class WatchedPublication(Publication, Protocol):
    """A publication that others may change."""

    @property
    def resource(self) -> Resource:
        """What to watch in order to learn of changes by others."""


class ServerCertificate:
    """Keep `user` supplied with a certificate. `publication`: where clients read the CA bundle besides the Secret."""

    def __init__(
        self,
        options: CertificateOptions,
        api: ApiClient,
        user: CertificateUser,
        log: Log,
        publication: WatchedPublication | None = None,
    ) -> None:
        self._api = api
        self._resources: tuple[Resource, ...] = ()
        self.source: CertificateController | CertificateFiles
        issuer = IssuerProcess()
        if options.folder is not None:
            self.source = CertificateFiles(options.folder, issuer, user, log)
            return
        secret = CertificateSecret(api, namespace=options.namespace, name=options.secret, managed_by=options.server)
        spec = CertificateSpec(options.subject, options.lifetimes, time.time)
        self.source = CertificateController(Stores(secret, publication), issuer, user, spec, log)
        self._resources = (secret.resource, *(() if publication is None else (publication.resource,)))

    def coroutines(self, on_restart: Callable[[str, str], None]) -> Iterator[Coroutine[None, None, None]]:
        """Give what has to run all the time; `on_restart` is called with resource and reason when a watch breaks."""
        yield self.source.run()
        if isinstance(self.source, CertificateController):
            notifier = ChangeNotifier(self.source.wake)
            for resource in self._resources:
                yield Watcher(self._api, resource, notifier, on_restart).run()
