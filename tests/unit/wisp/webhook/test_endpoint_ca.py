"""The webhook follows the file with the custom token endpoint's CA, which the gateway writes when it first starts."""

import base64
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.waiting import wait_until
from tests.unit.wisp.certificates.replicas import Events
from tests.unit.wisp.kubernetes.apiserver import running, service_account
from tests.unit.wisp.webhook.process import CLIENT_ID, Webhook, review, webhook
from wisp.base.x509 import new_authority
from wisp.webhook.endpoint_ca import LARGEST, EndpointCAFile


def authority() -> str:
    """Make a CA."""
    return new_authority("wisp gateway CA", now=time.time(), seconds=86400).certificate_pem.decode()


FIRST, SECOND = authority(), authority()


class Followed:
    """A file that is followed, with what it was read as."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.used: list[str] = []
        self.log = Events()
        self._file = EndpointCAFile(path, lambda ca: self.used.append(ca.pem), self.log)  # type: ignore[arg-type]  # a fake log

    def read(self, content: str | bytes | None) -> None:
        """Write the file, or remove it (None), and let it be read."""
        if content is None:
            self.path.unlink(missing_ok=True)
        else:
            self.path.write_bytes(content.encode() if isinstance(content, str) else content)
        self._file.read()

    @property
    def reasons(self) -> list[object]:
        """Why the file could not be used."""
        return [fields["reason"] for event, fields in self.log.lines if event.endswith("not usable")]


@pytest.fixture(name="followed")
def _followed(tmp_path: Path) -> Followed:
    return Followed(tmp_path / "ca.crt")


def test_ca_is_used_when_it_is_there_and_when_it_changes(followed: Followed) -> None:
    """Once each, and without comments."""
    for content in (None, "", FIRST, FIRST, f"# the new one\n{SECOND}{FIRST}", SECOND):
        followed.read(content)
    assert followed.used == [FIRST, SECOND + FIRST, SECOND]
    assert [fields["certificates"] for event, fields in followed.log.lines if event.endswith("in use")] == [1, 2, 1]


@pytest.mark.parametrize(
    "content, reason",
    [
        pytest.param(None, "no such file or directory", id="missing"),
        pytest.param("", "holds no certificate", id="empty"),
        pytest.param("a" * 100, "holds no certificate", id="text"),
        pytest.param(FIRST[:100], "holds no certificate", id="half a certificate"),
        pytest.param(FIRST.replace("MII", "AAA"), "something that is not a certificate", id="damaged"),
        pytest.param(FIRST.replace("MII", "Ää\0"), "something that is not a certificate", id="not base64"),
        pytest.param(SECOND + FIRST.replace("MII", "AAA"), "something that is not a certificate", id="one damaged"),
        pytest.param(b"\xff\xfe", "holds no certificate", id="bytes"),
        pytest.param(FIRST + " " * LARGEST, "more than 1,048,576 bytes", id="too large"),
    ],
)
def test_unusable_file_changes_nothing_and_is_logged_once(
    followed: Followed, content: str | bytes | None, reason: str
) -> None:
    """Whether or not there was a CA before; and again when it becomes unusable another time."""
    followed.read(content)
    assert followed.used == []
    followed.read(FIRST)
    for _ in range(3):
        followed.read(content)
    assert followed.used == [FIRST]
    assert [reason in str(found) for found in followed.reasons] == [True, True]
    followed.read(FIRST)
    followed.read(content)
    assert followed.used == [FIRST]
    assert len(followed.reasons) == 3


def test_folder_is_not_a_file(followed: Followed) -> None:
    """A volume without the key of the Secret may look like that."""
    followed.path.mkdir()
    followed._file.read()
    assert followed.reasons == ["is a directory"]


class SecretVolume:
    """A Secret's volume as the kubelet writes it: entries are links into a folder that is exchanged as a whole."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._versions = 0
        folder.mkdir()
        (folder / "ca.crt").symlink_to("..data/ca.crt")
        self.path = folder / "ca.crt"

    def write(self, content: str | None) -> None:
        """Write a new version, without the entry if `content` is None."""
        self._versions += 1
        version = self._folder / f"..{self._versions}"
        version.mkdir()
        if content is not None:
            (version / "ca.crt").write_text(content)
        link = self._folder / "..data_tmp"
        link.symlink_to(version.name)
        link.replace(self._folder / "..data")


def patch_in(response: dict[str, Any]) -> str:
    """Return the patch of a review's response, as JSON."""
    return base64.b64decode(response["patch"]).decode()


def variable(ca: str) -> str:
    """Return the variable with the CA, as it is in a patch."""
    return f'"AZURE_KUBERNETES_CA_DATA","value":"{ca}"'.replace("\n", "\\n")


def flags(ca: Path) -> tuple[str, ...]:
    """Return the options of a custom token endpoint."""
    return (
        *("--custom-token-endpoint", "https://wisp-gateway.wisp.svc"),
        *("--custom-token-endpoint-annotation-suffix", "identity-binding"),
        *("--custom-token-endpoint-audience", "api://AKSIdentityBinding"),
        *("--custom-token-endpoint-ca", str(ca)),
    )


def asking_review() -> bytes:
    """Return a review of a pod that asks for the endpoint."""
    labels = {"azure.workload.identity/use": "true"}
    annotations = {"azure.workload.identity/use-identity-binding": "true"}
    return review(metadata={"name": "p", "namespace": "default", "labels": labels, "annotations": annotations})


def await_events(hook: Webhook, name: str, number: int) -> None:
    """Wait until the log has so many events of a name."""
    wait_until(lambda: len(hook.events(name)) == number, f"{name}: {number} times")


@pytest.mark.system
def test_webhook_follows_the_ca_of_the_gateway(tmp_path: Path) -> None:
    """Pods that ask for the endpoint wait for the CA; others do not, and neither does readiness."""
    volume = SecretVolume(tmp_path / "endpoint-ca")
    volume.write(None)
    asks = asking_review()
    with running() as api:
        api.world.put("serviceaccounts", service_account("web", client_id=CLIENT_ID))
        with webhook(api, tmp_path, *flags(volume.path)) as hook:
            hook.await_ready()
            assert len(hook.events("custom token endpoint's CA not usable")) == 1
            assert hook.review(review())["allowed"]
            refused = hook.review(asks)
            assert not refused["allowed"]
            assert refused["status"]["code"] == 503
            assert str(volume.path) in refused["status"]["message"]
            assert "wisp gateway" in refused["status"]["message"]
            assert hook.metric('wisp_webhook_reviews_total{result="unavailable"}') == 1
            for number, content in enumerate((FIRST, SECOND + FIRST), start=1):
                volume.write(content)
                await_events(hook, "custom token endpoint's CA in use", number)
                assert variable(content) in patch_in(hook.review(asks))
            volume.write(None)
            await_events(hook, "custom token endpoint's CA not usable", 2)
            assert hook.review(asks)["allowed"], "the last CA stays in use"


@pytest.mark.system
def test_ca_that_is_there_at_the_start_is_used_by_a_ready_webhook(tmp_path: Path) -> None:
    """It is read before the API server's version, which changes the policy, too."""
    file = tmp_path / "ca.crt"
    file.write_text(FIRST)
    with running() as api:
        api.world.put("serviceaccounts", service_account("web", client_id=CLIENT_ID))
        with webhook(api, tmp_path, *flags(file)) as hook:
            hook.await_ready()
            assert hook.events("API server's version")
            assert variable(FIRST) in patch_in(hook.review(asking_review()))
