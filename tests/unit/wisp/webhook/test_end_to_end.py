"""The real process, over real TLS, with an API server that fails as real ones do."""

import base64
import json
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.waiting import PATIENCE, wait_until
from tests.unit.wisp.certificates.replicas import issued
from tests.unit.wisp.kubernetes.apiserver import ApiServer, running, service_account, webhook_configuration
from tests.unit.wisp.webhook.process import CLIENT_ID, SERVICE, TENANT, Webhook, bundle, review, trusted, webhook
from wisp.certificates.decision import CertificateSet, fingerprints
from wisp.webhook.accounts import MISSING_SECONDS

pytestmark = pytest.mark.system

OTHER_ID = "33333333-3333-4333-8333-333333333333"
KEYS = ["ca.crt", "ca.key", "ca.sha256", "tls.crt", "tls.key"]


@pytest.fixture(name="api")
def _api() -> Iterator[ApiServer]:
    with running() as api:
        api.world.put("serviceaccounts", service_account("web", client_id=CLIENT_ID))
        yield api


@pytest.fixture(name="hook")
def _hook(api: ApiServer, tmp_path: Path) -> Iterator[Webhook]:
    """Run a webhook that is ready."""
    with webhook(api, tmp_path) as hook:
        hook.await_ready()
        yield hook


def client_id(response: dict[str, object]) -> str | None:
    """Return the client id that an answer puts into the pod."""
    patch = str(response["patch"])
    text = base64.b64decode(patch).decode()
    found = [identifier for identifier in (CLIENT_ID, OTHER_ID) if identifier in text]
    return found[0] if found else None


def test_labelled_pod_gets_its_identity(hook: Webhook) -> None:
    """A labelled pod of an annotated account: a patch with client id, tenant and token volume."""
    response = hook.review(review(uid="the-uid"))
    assert response["uid"] == "the-uid"
    assert response["allowed"] is True
    patch = base64.b64decode(response["patch"]).decode()
    assert all(text in patch for text in (CLIENT_ID, TENANT, "azure-identity-token"))


def test_cached_answer_follows_changes_of_the_account(hook: Webhook) -> None:
    """Answered from the cache, with its own uid; a change of the account takes effect."""
    with hook.connect() as connection:
        answers = [connection.review(review(uid=f"u{number}")) for number in range(3)]
        assert [answer["uid"] for answer in answers] == ["u0", "u1", "u2"]
        assert len({answer["patch"] for answer in answers}) == 1
        hook.api.world.put("serviceaccounts", service_account("web", client_id=OTHER_ID))
        wait_until(lambda: client_id(connection.review(review())) == OTHER_ID, "the new client id is given")


def test_pod_without_the_label_is_admitted_unchanged(hook: Webhook) -> None:
    """Its author is warned about the missing label if the account has a client id, also if that is added later."""
    body = review("soon", metadata={"name": "p"})
    with hook.connect() as connection:
        answers = [connection.review(body) for _ in range(2)]
        assert answers == [{"uid": "u", "allowed": True}] * 2
        hook.api.world.put("serviceaccounts", service_account("soon", client_id=CLIENT_ID))
        wait_until(lambda: "warnings" in connection.review(body), "the account is known")
        assert "patch" not in connection.review(body)
    assert hook.metric("wisp_webhook_account_lookups_total") == 0


def test_account_created_after_a_refusal_is_found(hook: Webhook) -> None:
    """The refusal says what is missing; the pod is admitted as soon as the watch has reported the account."""
    refused = hook.review(review("late"))
    assert refused["allowed"] is False
    assert refused["status"]["code"] == 400
    assert 'serviceaccounts "late" not found' in refused["status"]["message"]
    hook.api.world.put("serviceaccounts", service_account("late", client_id=CLIENT_ID))
    wait_until(lambda: hook.metric("wisp_webhook_accounts") == 2, "the watch has brought it")
    assert client_id(hook.review(review("late"))) == CLIENT_ID


def test_missing_accounts_cause_few_reads(hook: Webhook) -> None:
    """300 reviews for three missing accounts; more than one read each only where the machine takes over two seconds."""
    begun = time.monotonic()
    with hook.connect() as connection:
        for number in range(300):
            answer = connection.review(review(f"missing-{number % 3}", uid=f"u{number}"))
            assert answer["status"]["code"] == 400
    rounds = 1 + int((time.monotonic() - begun) / MISSING_SECONDS)
    assert hook.api.world.count_requests("serviceaccounts/missing") <= 3 * rounds
    assert hook.metric("wisp_webhook_account_reads_total") == hook.api.world.count_requests("serviceaccounts/missing")


def test_account_annotated_a_moment_ago_is_used(hook: Webhook) -> None:
    """Even if the watch has not reported it yet: no pod starts without its identity."""
    hook.api.world.put("serviceaccounts", service_account("bare"))
    wait_until(lambda: hook.metric("wisp_webhook_accounts") == 2, "the account is in the cache")
    hook.api.world.fault = lambda _, path: 503 if "watch=1" in path else None
    hook.api.world.break_watches()
    hook.api.world.put("serviceaccounts", service_account("bare", client_id=CLIENT_ID))
    assert client_id(hook.review(review("bare"))) == CLIENT_ID


def test_known_accounts_are_served_while_the_api_server_is_down(hook: Webhook) -> None:
    """Known accounts are served; unknown ones are refused for now, whatever the failurePolicy; then it recovers."""
    hook.api.stop()
    assert client_id(hook.review(review())) == CLIENT_ID
    refused = hook.review(review("unknown"))
    assert (refused["allowed"], refused["status"]["code"]) == (False, 503)
    assert "try again" in refused["status"]["message"]
    assert hook.health("/readyz")[0] == 200
    hook.api.start()
    hook.api.world.put("serviceaccounts", service_account("unknown", client_id=CLIENT_ID))
    wait_until(lambda: hook.metric("wisp_webhook_accounts") == 2, "the watch is back")
    assert client_id(hook.review(review("unknown"))) == CLIENT_ID


@pytest.mark.parametrize("status", [500, 0], ids=["500", "hangs up"])
def test_failed_lookup_refuses_the_pod_for_now(hook: Webhook, status: int) -> None:
    """Never an admission."""
    hook.api.world.fault = lambda _, path: status if path.endswith("serviceaccounts/unknown") else None
    refused = hook.review(review("unknown"))
    assert (refused["allowed"], refused["status"]["code"]) == (False, 503)


def test_expired_watch_lists_again(hook: Webhook) -> None:
    """410: what has changed in between is known."""
    hook.api.world.put("serviceaccounts", service_account("more", client_id=CLIENT_ID))
    hook.api.world.expire()
    hook.api.world.delete("serviceaccounts", "web", "default")
    wait_until(
        lambda: hook.metric('wisp_webhook_watch_restarts_total{resource="serviceaccounts"}') >= 1, "it lists again"
    )
    wait_until(lambda: hook.metric("wisp_webhook_accounts") == 1, "both changes are known")
    assert hook.review(review("web"))["allowed"] is False


def test_accounts_are_listed_in_pages(api: ApiServer, tmp_path: Path) -> None:
    """All of them are there before it is ready."""
    for number in range(1100):
        api.world.put("serviceaccounts", service_account(f"a{number}"))
    with webhook(api, tmp_path) as hook:
        hook.await_ready()
        assert hook.metric("wisp_webhook_accounts") == 1101
        assert api.world.count_requests("continue=") >= 2


def test_webhook_is_not_ready_before_certificates_and_accounts_are_there(api: ApiServer, tmp_path: Path) -> None:
    """/readyz names what is missing; /healthz is content; without a configuration there is no readiness."""
    api.world.delete("mutatingwebhookconfigurations", "wisp-webhook")
    with webhook(api, tmp_path) as hook:
        wait_until(lambda: hook.health("/readyz")[1].startswith("no certificate yet\nthe CA bundle is"), "it says so")
        assert hook.health("/healthz")[0] == 200
        wait_until(lambda: hook.events("certificates not updated"), "it says why")
        api.world.put("mutatingwebhookconfigurations", webhook_configuration())
        hook.await_ready()
        assert client_id(hook.review(review())) == CLIENT_ID


def test_secret_and_configuration_hold_the_certificates(hook: Webhook) -> None:
    """A Secret with four keys, and a log and metrics without any of them."""
    secret = hook.api.world.get("secrets", "wisp-webhook-certificate", "wisp")
    assert sorted(secret["data"]) == KEYS
    assert base64.b64decode(secret["data"]["ca.crt"]) == bundle(hook.api)
    page = hook.health("/metrics")[1]
    for text in (json.dumps(hook.log), page):
        assert "PRIVATE KEY" not in text
        assert secret["data"]["tls.key"][:40] not in text
    assert hook.metric("wisp_webhook_certificate_expiry_timestamp_seconds") - time.time() > 89 * 86400


def test_reset_bundle_is_restored(hook: Webhook) -> None:
    """By a `helm upgrade`, say: the watch tells, and it is patched again."""
    held = bundle(hook.api)
    hook.api.world.put("mutatingwebhookconfigurations", webhook_configuration())
    wait_until(lambda: bundle(hook.api) == held, "the bundle is back")


def test_foreign_authority_is_removed(hook: Webhook) -> None:
    """From configuration and Secret, with a line in the log, although its name is that of the webhook's own."""
    foreign, own = _made().bundle, bundle(hook.api)
    (fingerprint,) = fingerprints(foreign)
    document = webhook_configuration()
    document["webhooks"][0]["clientConfig"]["caBundle"] = base64.b64encode(own + foreign).decode()
    hook.api.world.put("mutatingwebhookconfigurations", document)
    wait_until(lambda: bundle(hook.api) == own, "the configuration has only the webhook's own")
    secret = hook.api.world.get("secrets", "wisp-webhook-certificate", "wisp")
    data = {**secret["data"], "ca.crt": base64.b64encode(own + foreign).decode()}
    hook.api.world.put("secrets", {**secret, "data": data})
    held = hook.api.world.objects
    wait_until(
        lambda: held["secrets", "wisp", "wisp-webhook-certificate"]["data"] == secret["data"], "nor has the Secret it"
    )
    wait_until(lambda: len(hook.events("unknown authority removed")) == 2, "both are logged")
    assert {event["fingerprint"] for event in hook.events("unknown authority removed")} == {fingerprint}
    assert bundle(hook.api) == own
    assert len(hook.events("certificate in use")) == 1


@pytest.mark.parametrize("keys", [["tls.key"], ["ca.crt", "tls.crt"], KEYS], ids=" ".join)
def test_half_written_secret_is_repaired(hook: Webhook, keys: list[str]) -> None:
    """Reviews go on meanwhile; what else is in the Secret stays."""
    before = hook.api.world.get("secrets", "wisp-webhook-certificate", "wisp")
    data = {name: value for name, value in before["data"].items() if name not in keys}
    broken = {**before, "data": {**data, "tls.crt": "!", "notes": "bm90ZXM="}, "type": "Opaque"}
    with hook.connect() as connection:
        hook.api.world.put("secrets", broken)
        wait_until(lambda: len(hook.events("certificate in use")) == 2, "there is a new certificate")
        assert client_id(connection.review(review())) == CLIENT_ID, "on a connection from before"
    assert client_id(hook.review(review())) == CLIENT_ID, "on a new one"
    after = hook.api.world.get("secrets", "wisp-webhook-certificate", "wisp")
    assert sorted(after["data"]) == sorted([*KEYS, "notes"])


def test_two_replicas_share_the_certificates(api: ApiServer, tmp_path: Path) -> None:
    """Started at once they agree on one certificate; one is killed, the Secret deleted: the other makes another."""
    with webhook(api, tmp_path) as first, webhook(api, tmp_path) as second:
        for replica in (first, second):
            replica.await_ready()
            assert client_id(replica.review(review())) == CLIENT_ID
        first.process.kill()
        before = bundle(api)
        api.world.delete("secrets", "wisp-webhook-certificate", "wisp")
        wait_until(lambda: bundle(api) != before, "a new authority is trusted")
        assert before in bundle(api), "and the old one"
        second.await_ready()
        assert client_id(second.review(review())) == CLIENT_ID


def test_certificate_files_are_used_and_read_again(api: ApiServer, tmp_path: Path) -> None:
    """Files as cert-manager writes them: used, read again when they change, and the last usable pair stays in use."""
    folder = tmp_path / "certificate"
    folder.mkdir()
    with webhook(api, tmp_path, "--certificate-dir", str(folder)) as hook:
        wait_until(lambda: hook.events("certificate files not usable"), "it misses them")
        assert hook.health("/readyz")[0] == 503
        first, second = _write(folder), _made()
        hook.await_ready()
        context = ssl.create_default_context(cadata=first.decode())
        assert hook.review(review(), context)["allowed"] is True
        (folder / "tls.crt").write_bytes(second.chain)
        wait_until(lambda: len(hook.events("certificate files not usable")) == 2, "they do not fit together")
        assert hook.review(review(), context)["allowed"] is True
        (folder / "tls.key").write_text(second.key.reveal())
        wait_until(lambda: len(hook.events("certificate in use")) == 2, "the new ones are shown")
        assert hook.review(review(), ssl.create_default_context(cadata=second.bundle.decode()))["allowed"] is True
        assert not hook.api.world.count_requests("secrets")
        assert not hook.api.world.count_requests("mutatingwebhookconfigurations")


def _made() -> CertificateSet:
    return issued(SERVICE, now=time.time(), seconds=1e6)


def _write(folder: Path) -> bytes:
    made = _made()
    (folder / "tls.key").write_text(made.key.reveal())
    (folder / "tls.crt").write_bytes(made.chain)
    return made.bundle


def test_sigterm_finishes_requests_in_flight(hook: Webhook) -> None:
    """SIGTERM: what is under way is answered, then it ends with status 0."""
    with hook.connect() as connection:
        connection.review(review())
        assert hook.stop() == 0
    assert hook.events("stopped")
    with pytest.raises(ConnectionError):
        socket.create_connection(("127.0.0.1", hook.port), PATIENCE)


def test_reviews_are_answered_during_the_shutdown_delay(api: ApiServer, tmp_path: Path) -> None:
    """After SIGTERM it is not ready, yet answers for the time it was given."""
    with webhook(api, tmp_path, "--shutdown-delay", "60") as hook:
        hook.await_ready()
        hook.process.send_signal(signal.SIGTERM)
        wait_until(lambda: hook.health("/readyz") == (503, "stopping\n"), "it says that it stops")
        assert hook.review(review())["allowed"] is True


def test_tls_1_3_is_required_by_default(hook: Webhook, api: ApiServer, tmp_path: Path) -> None:
    """TLS 1.2 is refused by default and served on request; HTTP/2 is not offered."""
    old = trusted(api)
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        hook.review(review(), old)
    modern = trusted(api)
    modern.set_alpn_protocols(["h2", "http/1.1"])
    with hook.connect(modern) as connection:
        assert connection.socket.selected_alpn_protocol() == "http/1.1"
    with webhook(api, tmp_path, "--tls-min-version", "1.2") as lenient:
        lenient.await_ready()
        assert lenient.review(review(), old)["allowed"] is True


@pytest.mark.long
def test_no_review_fails_while_certificates_are_rotated(api: ApiServer, tmp_path: Path) -> None:
    """Certificates of one minute, authorities of two: every connection verifies, every review is answered.

    A third of a certificate's life is left when it is renewed: time enough for a busy machine.
    """
    flags = ("--certificate-days", str(60 / 86400), "--authority-days", str(120 / 86400))
    with webhook(api, tmp_path, *flags) as first, webhook(api, tmp_path, *flags) as second:
        for replica in (first, second):
            replica.await_ready()

        def reviewed() -> bool:
            assert all(client_id(replica.review(review())) == CLIENT_ID for replica in (first, second))
            announced = bundle(api).count(b"BEGIN CERTIFICATE") >= 2
            return announced and all(len(replica.events("certificate in use")) >= 4 for replica in (first, second))

        wait_until(reviewed, "two authorities and four certificates have been in use", patience=1800)
        assert not [line for replica in (first, second) for line in replica.log if line.get("level") == "warning"]
