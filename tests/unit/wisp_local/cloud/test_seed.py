"""Seed files: what they may say, what is said of those that are wrong, and what they do to a state."""

import contextlib
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wisp_local.cloud.small_azure import BASE_URL, Clock, KeyPool
from wisp_local.cloud.errors import ConflictError, RequestError, SeedError
from wisp_local.cloud.seed import Seed, SeedFile, apply_seed, json_schema, load_seed, read_seed
from wisp_local.cloud.state.store import Store

TENANT, CLIENT, ISSUER = (f"{digit * 8}-1111-4111-8111-111111111111" for digit in "abc")
SEED = f"""\
tenant: {{id: {TENANT.upper()}, name: contoso}}
subscription: {{name: research}}
resourceGroups:
  - {{name: far, location: westus}}
issuers:
  - {{name: ci, id: {ISSUER}}}
  - {{name: github, url: "https://token.actions.githubusercontent.com"}}
identities:
  - name: app
    resourceGroup: demo
    clientId: {CLIENT}
    federatedCredentials:
      - {{name: pod, issuer: ci, subject: "system:serviceaccount:default:app"}}
      - {{name: actions, issuer: github, subject: "repo:contoso/app:ref:refs/heads/main", audience: "api://x"}}
      - {{name: other, issuer: "https://issuer.example/", subject: s}}
  - {{name: elsewhere, resourceGroup: far}}
resources: ["api://my-api"]
"""
OWN_URL = f"{BASE_URL}/oidc/{ISSUER}/"


def _seed(text: str) -> SeedFile:
    return read_seed(text, "cloud.yaml")


def test_seed_creates_everything_in_the_file(store: Store) -> None:
    """With the ids of the file, and defaults for the rest."""
    assert apply_seed(_seed(SEED), store, BASE_URL)
    assert (store.tenant().id, store.tenant().display_name) == (TENANT, "contoso")
    assert store.subscription().display_name == "research"
    assert store.issuers.get(ISSUER) == store.issuers.named("ci")
    app, elsewhere = store.identity("demo", "app"), store.identity("far", "elsewhere")
    assert (app.client_id, app.tenant_id, app.location, elsewhere.location) == (CLIENT, TENANT, "eastus", "westus")
    there = {
        (credential.name, credential.issuer, *credential.audiences) for credential in store.federated_credentials(app)
    }
    assert there == {
        ("pod", OWN_URL, "api://AzureADTokenExchange"),
        ("actions", "https://token.actions.githubusercontent.com", "api://x"),
        ("other", "https://issuer.example/", "api://AzureADTokenExchange"),
    }
    assert store.resources() == ["api://my-api"]


def test_json_file_equals_the_yaml_file() -> None:
    in_json, in_yaml = _seed(json.dumps(yaml.safe_load(SEED))).seed, _seed(SEED).seed
    assert (in_json.tenant, in_json.resources) == (in_yaml.tenant, in_yaml.resources)
    assert [(identity.name, identity.client_id) for identity in in_json.identities] == [
        ("app", CLIENT),
        ("elsewhere", None),
    ]


def test_applying_a_seed_again_writes_nothing(store: Store) -> None:
    """Other objects stay."""
    apply_seed(_seed(SEED), store, BASE_URL)
    app = store.identity("demo", "app")
    store.put_federated_credential(app, "by-hand", issuer="https://h/", subject="s")
    assert not apply_seed(_seed(SEED), store, BASE_URL)
    assert {credential.name for credential in store.federated_credentials(app)} == {
        "pod",
        "actions",
        "other",
        "by-hand",
    }


def test_changed_display_names_and_credentials_are_updated(store: Store) -> None:
    """Two credentials may swap their names."""
    apply_seed(_seed(SEED), store, BASE_URL)
    changed = SEED.replace("contoso,", "x,").replace("name: contoso}", "name: fabrikam}")
    changed = changed.replace("name: pod", "name: swap").replace("name: actions", "name: pod")
    changed = changed.replace("name: swap", "name: actions")
    assert apply_seed(_seed(changed), store, BASE_URL)
    assert store.tenant().display_name == "fabrikam"
    there = {
        credential.name: credential.issuer for credential in store.federated_credentials(store.identity("demo", "app"))
    }
    assert there["actions"] == OWN_URL
    assert there["pod"] == "https://token.actions.githubusercontent.com"


CONFLICTS = [
    ("a tenant of another id", {TENANT.upper(): CLIENT}, "ids never change"),
    ("an identity's client id", {f"clientId: {CLIENT}": f"clientId: {TENANT}"}, "line 9: identities[0]: identity app"),
    ("an issuer's id", {f"id: {ISSUER}": f"id: {TENANT}"}, "line 6: issuers[0]: issuer ci"),
    ("an issuer with another's id", {"name: ci,": "name: cj,", "issuer: ci": "issuer: cj"}, "issuer ci has the id"),
    ("a group elsewhere", {"location: westus": "location: uksouth"}, "line 4: resourceGroups[0]"),
    ("another identity's client id", {"name: app\n": "name: app2\n"}, "is another identity's"),
]


@pytest.mark.parametrize("changes, said", [case[1:] for case in CONFLICTS], ids=[case[0] for case in CONFLICTS])
def test_immutable_value_that_differs_is_a_conflict(store: Store, changes: dict[str, str], said: str) -> None:
    """The error has its line, and nothing is changed."""
    apply_seed(_seed(SEED), store, BASE_URL)
    text = SEED.replace("research", "changed")
    for old, new in changes.items():
        text = text.replace(old, new)
    with pytest.raises(ConflictError) as caught:
        apply_seed(_seed(text), store, BASE_URL)
    assert said in str(caught.value)
    assert store.subscription().display_name == "research"


def test_credential_limit_counts_existing_credentials(store: Store) -> None:
    apply_seed(_seed(SEED), store, BASE_URL)
    app = store.identity("demo", "app")
    for number in range(17):
        store.put_federated_credential(app, f"by-hand-{number}", issuer="https://h/", subject=f"{number}")
    with pytest.raises(RequestError, match=r"line 9: identities\[0\]: .*Azure's limit"):
        apply_seed(
            _seed(SEED.replace("name: pod", "name: pod2").replace("default:app", "default:app2")), store, BASE_URL
        )


def test_own_issuer_requires_the_url_of_the_cloud(store: Store) -> None:
    with pytest.raises(RequestError, match="give --url"):
        apply_seed(_seed(SEED), store, None)
    apply_seed(_seed("identities: [{name: app, resourceGroup: demo}]"), store, None)


IDENTITY = "identities:\n  - name: app\n    resourceGroup: demo\n"
CREDENTIALS = f"{IDENTITY}    federatedCredentials:\n"
PAIR = "identities: [{name: abc, resourceGroup: a, clientId: %s}, {name: def, resourceGroup: a, clientId: %s}]"
GIHUB = "{name: fic, issuer: gihub, subject: s}"
FIRST = "identities[0].federatedCredentials[0]"
MANY = CREDENTIALS + "".join(f"      - {{name: fic{n}, issuer: 'https://i', subject: '{n}'}}\n" for n in range(21))
WRONG = [
    ("key", "identitys: []", "line 1: unknown key 'identitys': did you mean 'identities'?"),
    (
        "key below",
        f"{IDENTITY}    clientID: x",
        "line 4: identities[0]: unknown key 'clientID': did you mean",
    ),
    ("far key", "zzz: 1", "line 1: unknown key 'zzz': there is tenant, subscription"),
    ("twice", "tenant: {}\ntenant: {}", "line 2: the key 'tenant' occurs twice: keep one"),
    (
        "missing",
        "identities:\n  - name: app",
        (
            "line 2: identities[0]: resourceGroup is missing: add resourceGroup: "
            "the resource group, created if it does not exist"
        ),
    ),
    ("no list", "identities: {}", "line 1: identities: this has to be a list"),
    ("no mapping", "tenant: x", "line 1: tenant: this has to be a mapping"),
    ("list", "- x", "line 1: this has to be a mapping"),
    ("number", "issuers: [{name: 7}]", 'line 1: issuers[0].name: this has to be text: put it in quotes: "7"'),
    ("guid", f"{IDENTITY}    clientId: x", "line 4: identities[0].clientId: 'x' is not a GUID"),
    ("name", "issuers: [{name: a b}]", "line 1: issuers[0]: 'a b' is not a valid cluster name"),
    ("identity", "identities: [{name: x, resourceGroup: demo}]", "identities[0]: 'x' is not a valid identity name"),
    ("resource", "resources: [x]", "'x' cannot be a resource"),
    ("issuer url", "issuers: [{name: a, url: 'http://x'}]", "issuers[0].url: 'http://x' is not an issuer's URL"),
    ("id elsewhere", f"issuers: [{{name: a, url: 'https://x', id: {CLIENT}}}]", "issuers[0].id: an issuer elsewhere"),
    (
        "issuer",
        f"{CREDENTIALS}      - {GIHUB}",
        f"line 5: {FIRST}.issuer: there is no issuer",
    ),
    ("near issuer", f"issuers: [{{name: github}}]\n{CREDENTIALS}      - {GIHUB}", "did you mean 'github'?"),
    (
        "same",
        f"{IDENTITY}  - {{name: APP, resourceGroup: Demo}}",
        "the same resourceGroup and name as in",
    ),
    ("same id", PAIR % (CLIENT, CLIENT.upper()), "identities[1].clientId: the same clientId as in identities[0]"),
    ("twenty-one", MANY, "there are 21, and Azure's limit is 20"),
    ("same subject", MANY.replace("subject: '1'", "subject: '0'"), f"the same issuer and subject as in {FIRST}"),
    ("yaml", "tenant: [", "it is not YAML or JSON"),
    ("json", '{"tenant": ', "line 1: it is not YAML or JSON"),
    ("control", "tenant: \x01", "it is not YAML or JSON"),
    ("endless", "tenant: &a {id: *a}", "nested without end"),
]


@pytest.mark.parametrize("text, said", [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_error_has_file_line_and_path(text: str, said: str) -> None:
    with pytest.raises(SeedError) as caught:
        _seed(text)
    assert str(caught.value).startswith("cloud.yaml")
    assert said in str(caught.value)


def test_yaml_tag_creates_no_object() -> None:
    assert _seed("tenant: !!python/object:os.system {}").seed == Seed()


KEYS = st.sampled_from(["identities", "issuers", "name", "tenant", "resources", "x"])


@given(
    st.text()
    | st.recursive(st.none() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner)).map(json.dumps)
)
def test_arbitrary_text_is_a_seed_or_a_seed_error(text: str) -> None:
    with contextlib.suppress(SeedError):
        assert isinstance(_seed(text).seed, Seed)


@pytest.mark.parametrize("content", [None, b"\xff"], ids=["absent", "not UTF-8"])
def test_unreadable_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "cloud.yaml").write_bytes(content)
    with pytest.raises(SeedError, match=r"cloud\.yaml (cannot be read|is not UTF-8)"):
        load_seed(tmp_path / "cloud.yaml")


def test_seed_is_idempotent_over_restarts(tmp_path: Path, clock: Clock, new_key: KeyPool) -> None:
    for changed in (True, False):
        with Store(tmp_path / "s", clock, new_key=new_key) as store:
            assert apply_seed(_seed(SEED), store, BASE_URL) is changed


def test_json_schema_has_exactly_the_keys_of_the_parser() -> None:
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    definitions = schema["$defs"]
    assert isinstance(definitions, dict)
    keys = {name: (set(found["properties"]), found["required"]) for name, found in definitions.items()}
    assert keys == {
        "Seed": ({"tenant", "subscription", "resourceGroups", "issuers", "identities", "resources"}, []),
        "Directory": ({"id", "name"}, []),
        "Group": ({"name", "location"}, ["name"]),
        "Issuer": ({"name", "url", "id"}, ["name"]),
        "Identity": (
            {"name", "resourceGroup", "location", "clientId", "principalId", "federatedCredentials"},
            ["name", "resourceGroup"],
        ),
        "Credential": ({"name", "issuer", "subject", "audience"}, ["name", "issuer", "subject"]),
    }
    assert all(found["additionalProperties"] is False for found in definitions.values())


@pytest.mark.parametrize("key", ["tenant", "identities", "resources"])
def test_key_without_a_value_is_absent(key: str) -> None:
    assert _seed(f"{key}:").seed == _seed(json.dumps({key: None})).seed == Seed()


@pytest.mark.parametrize("text", ['{"\\ud800": 1}', '{"tenant": {"name": 1' + "0" * 5000 + "}}"], ids=["key", "number"])
def test_json_that_cannot_be_decoded_is_a_seed_error(text: str) -> None:
    """Half a surrogate pair, and a number of too many digits."""
    with pytest.raises(SeedError, match=r"cloud\.yaml"):
        _seed(text)
