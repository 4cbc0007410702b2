"""Applications: who logs in with a secret or an assertion, and is not a managed identity."""

import json
from pathlib import Path

import pytest

from tests.unit.wisp_local.cloud.small_azure import ARM, NOW, SmallAzure, claims_of
from wisp.base.secret import Secret
from wisp.cli import main
from wisp_local.cloud.entra.directory import Application
from wisp_local.cloud.errors import ConflictError, NotFoundError, RequestError
from wisp_local.cloud.roles import OWNER
from wisp_local.cloud.state.principals import SECRET_LIFETIME
from wisp_local.cloud.state.store import Store

GUID = "11111111-2222-4333-8444-555555555555"


@pytest.fixture(name="application")
def _application(azure: SmallAzure) -> Application:
    """Give a registered application."""
    return azure.store.principals.put("ci")


def _with_secret(application: Application, secret: str) -> dict[str, str | None]:
    form = {"client_assertion": None, "client_assertion_type": None, "client_secret": secret}
    return {"client_id": application.client_id, **form}


def test_secret_gives_the_token_of_a_service_principal(azure: SmallAzure, application: Application) -> None:
    """It lives an hour, says `appidacr` 1, and has no managed identity's resource id."""
    secret = azure.store.principals.add_secret(application)
    document = azure.ask(**_with_secret(application, secret.reveal())).json()
    claims = claims_of(document["access_token"])
    assert document["expires_in"] == 3600
    assert (claims["appid"], claims["oid"], claims["appidacr"]) == (
        application.client_id,
        application.principal_id,
        "1",
    )
    assert claims["sub"] == claims["oid"] != application.object_id
    assert "xms_mirid" not in claims
    assert claims["exp"] - claims["iat"] == 3600


def test_each_of_several_secrets_is_valid_until_it_expires(azure: SmallAzure, application: Application) -> None:
    """Entra distinguishes an expired secret (7000222) from a wrong one (7000215)."""
    old = azure.store.principals.add_secret(application, lifetime=60)
    new = azure.store.principals.add_secret(application)
    assert [azure.ask(**_with_secret(application, secret.reveal())).status for secret in (old, new)] == [200, 200]
    azure.clock.now += 60
    assert azure.ask(**_with_secret(application, old.reveal())).code == 7000222
    assert azure.ask(**_with_secret(application, new.reveal())).status == 200
    assert azure.ask(**_with_secret(application, "wrong")).code == 7000215
    azure.clock.now = NOW + SECRET_LIFETIME
    assert azure.ask(**_with_secret(application, new.reveal())).code == 7000222


def test_only_the_digest_of_a_secret_is_stored(azure: SmallAzure, application: Application) -> None:
    secret = azure.store.principals.add_secret(application, Secret("a-secret-that-was-brought-along"))
    azure.store._database.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    assert secret.reveal().encode() not in azure.store.path.read_bytes()


def test_application_logs_in_with_an_assertion(azure: SmallAzure, application: Application) -> None:
    """Its federated credentials follow the rules of an identity's."""
    azure.store.put_federated_credential(application, "cluster", issuer=azure.issuer_url, subject="s")
    claims = claims_of(
        azure.ask(client_id=application.client_id, client_assertion=azure.assertion(sub="s")).json()["access_token"]
    )
    assert (claims["appid"], claims["appidacr"]) == (application.client_id, "2")
    assert azure.ask(client_id=application.client_id).code == 700213
    with pytest.raises(ConflictError):
        azure.store.put_federated_credential(application, "other", issuer=azure.issuer_url, subject="s")


def test_application_is_created_once_by_name(store: Store) -> None:
    """A client id that is taken, or another one, is refused."""
    made = store.principals.put("ci", GUID.upper())
    assert made.client_id == GUID
    assert store.principals.put("ci") == made == store.principals.put("ci", GUID)
    with pytest.raises(ConflictError, match="already exists as"):
        store.principals.put("ci", GUID.replace("1", "2"))
    with pytest.raises(ConflictError, match="another client's"):
        store.principals.put("cd", GUID)
    for name, client_id in (("", None), ("x" * 121, None), ("cd", "no-guid")):
        with pytest.raises(RequestError):
            store.principals.put(name, client_id)
    with pytest.raises(RequestError, match="too short"):
        store.principals.add_secret(made, Secret("short"))


def test_deleted_application_gets_no_tokens(azure: SmallAzure, application: Application) -> None:
    """Its secrets are deleted with it, and it can have no new ones."""
    secret = azure.store.principals.add_secret(application).reveal()
    azure.store.principals.delete(application)
    assert azure.ask(**_with_secret(application, secret)).code == 700016
    with pytest.raises(NotFoundError):
        azure.store.principals.add_secret(application)
    with pytest.raises(NotFoundError):
        azure.store.principals.named("ci")


def test_cloud_itself_is_a_resource(azure: SmallAzure) -> None:
    assert azure.ask(scope="https://cloud.test:8443//.default").status == 200
    assert azure.ask(scope=f"{ARM}/.default").status == 200


def test_secret_is_printed_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`add` prints a generated one, `list` none, and a given one is not printed at all."""
    state = tmp_path / "s"
    brought = tmp_path / "secret"
    brought.write_text("brought-along-by-its-owner\n")

    def run(*arguments: object) -> list[dict[str, object]]:
        assert main(["cloud", "principal", *map(str, arguments), "--state", str(state)]) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    (shown,) = run("add", "-n", "ci")
    password = str(shown.pop("password"))
    assert run("list") == [{**shown, "federatedCredentials": []}]
    assert "password" not in run("add", "-n", "ci", "--secret-file", brought)[0]
    assert "password" not in run("add", "-n", "ci", "--no-secret")[0]
    assert run("add", "-n", "ci", "--no-secret", "--role", "owner")[0] == shown
    with Store(state) as store:
        (assigned,) = store.assignments.all()
        assert (assigned.principal_id, assigned.scope) == (
            shown["objectId"],
            f"/subscriptions/{store.subscription().id}",
        )
        assert assigned.role_definition_id.endswith(OWNER.guid)
    (credential,) = run("federate", "-n", "ci", "--issuer", "https://i/", "--subject", "s")
    assert run("list") == [{**shown, "federatedCredentials": [credential]}]
    with Store(state) as store:
        for value in (password, "brought-along-by-its-owner"):
            assert store.principals.check_secret(str(shown["appId"]), Secret(value)).value == "right"
    run("delete", "-n", "ci")
    assert run("list") == []
    assert main(["cloud", "principal", "add", "--state", str(state), "-n", "x", "--secret-file", "absent"]) == 2
