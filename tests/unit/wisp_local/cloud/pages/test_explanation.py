"""The words beside a difference, and the command that puts it right."""

import json
import shlex
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wisp_local.cloud.entra.directory import DEFAULT_AUDIENCE, Application, FederatedCredential, ManagedIdentity
from wisp_local.cloud.pages.explanation import Field, explain
from wisp_local.cloud.pages.nearest import Presented
from wisp_local.cloud.pages.remedy import Remedy, remedies

SA = "system:serviceaccount:"
ISSUER = "https://cloud.test/oidc/1/"
PRESENTED = Presented(ISSUER, f"{SA}kube-system:wi-demo-sa", DEFAULT_AUDIENCE)
IDENTITY = ManagedIdentity("s", "RG", "wi-demo-identity", "eastus", "c", "p", "t")
MEANT = FederatedCredential("federated-id", ISSUER, f"{SA}default:wi-demo-sa", (DEFAULT_AUDIENCE,))

CASES = [
    (
        Field.ISSUER,
        "https://c.test/1",
        "https://c.test/1/",
        "lacks the trailing slash that the federated credential has",
    ),
    (
        Field.ISSUER,
        "https://c.test/1/",
        "https://c.test/1",
        "has a trailing slash that the federated credential has not",
    ),
    (Field.ISSUER, "https://C.test/1", "https://c.test/1/", "differs in case, and lacks the trailing slash"),
    (Field.ISSUER, "http://c.test/1", "https://c.test/1", "scheme is http, not https"),
    (Field.ISSUER, "https://b.test/1", "https://c.test/1", "host is b.test, not c.test"),
    (Field.ISSUER, "https://c.test:1/", "https://c.test:2/", "port is 1, not 2"),
    (Field.ISSUER, "https://c.test/1", "https://c.test/2", "another cluster's issuer, perhaps"),
    (Field.ISSUER, "https://[c.test/1", "https://c.test/1", "differs in 1 character"),
    (Field.ISSUER, "https://b.test:x/1", "https://c.test/22222222", "is another one altogether"),
    (Field.ISSUER, "", "https://c.test/1", "is missing"),
    (Field.SUBJECT, f"{SA}ns:Name", f"{SA}ns:name", "differs only in case"),
    (Field.SUBJECT, f"{SA}ns:name ", f"{SA}ns:name", "differs only in space at its start or end"),
    (Field.SUBJECT, f"{SA}ns:na\u200bme", f"{SA}ns:name", "cannot be seen: U+200B zero width space"),
    (Field.SUBJECT, f"{SA}a:name", f"{SA}b:name", "namespace is a, not b"),
    (Field.SUBJECT, f"{SA}ns:a", f"{SA}ns:b", "service account is a, not b"),
    (Field.SUBJECT, f"{SA}a:b", f"{SA}c:d", "namespace is a, not c and service account is b, not d"),
    (Field.SUBJECT, f"{SA}a:b", f"{SA}b:a", "has namespace and service account the wrong way round"),
    (
        Field.SUBJECT,
        f"{SA}a:b",
        "repo:o/r:ref:main",
        "is a Kubernetes service account; the federated credential is for",
    ),
    (Field.SUBJECT, "repo:o/r:ref:main", f"{SA}a:b", "is no Kubernetes service account"),
    (Field.SUBJECT, "repo:o/r:ref:main", "repo:o/r:ref:dev", "has main where dev is expected"),
    (Field.SUBJECT, "aaaaaaaaab", "aaaaaaaaac", "differs in 1 character"),
    (Field.SUBJECT, "x", "yyyy", "is another one altogether"),
    (Field.AUDIENCE, "https://kubernetes.default.svc", DEFAULT_AUDIENCE, "is the API server's"),
    (Field.AUDIENCE, "https://vault.azure.net", DEFAULT_AUDIENCE, "is a resource"),
    (Field.AUDIENCE, "api://AzureADTokenExchang", DEFAULT_AUDIENCE, "differs in 1 character"),
]


@pytest.mark.parametrize("field, presented, expected, words", CASES, ids=[words[:40] for *_, words in CASES])
def test_a_difference_in_words(field: Field, presented: str, expected: str, words: str) -> None:
    """The commonest mistakes are named as what they are."""
    assert words in explain(field, presented, expected)


@given(st.sampled_from(Field), st.text(max_size=30), st.text(max_size=30))
def test_there_are_words_for_every_difference_and_for_nothing_else(field: Field, one: str, two: str) -> None:
    """No strings are an error, and only equal ones need no explanation."""
    assert bool(explain(field, one, two)) == (one != two)


def _read(command: str) -> list[str]:
    return shlex.split(command.replace("\\\n", " "))


def test_a_credential_is_corrected_or_another_made() -> None:
    """Both, since only a person knows which was meant; the new one gets a name that is free."""
    taken = replace(MEANT, name="wi-demo-sa-federated-id", subject="x")
    correct, another = remedies(PRESENTED, IDENTITY, [MEANT, taken], MEANT)
    assert correct.az.startswith("az identity federated-credential update --name=federated-id ")
    assert _read(another.az)[3:5] == ["create", "--name=wi-demo-sa-federated-id-2"]
    assert _read(correct.wisp)[:3] == ["wisp", "cloud", "federate"]


@pytest.mark.parametrize(
    "credentials, titles",
    [
        ((), ["Trust this subject"]),
        ((MEANT,), ["Correct federated-id", "Or keep federated-id and trust this subject as well"]),
        ((MEANT,) * 20, ["Correct federated-id"]),
        ((replace(MEANT, subject=PRESENTED.subject, audiences=("api://x",)),), ["Correct federated-id"]),
    ],
    ids=["none", "one", "Azure's limit", "issuer and subject are unique"],
)
def test_only_what_azure_allows_is_offered(credentials: tuple[FederatedCredential, ...], titles: list[str]) -> None:
    """No command is shown that would be refused."""
    meant = credentials[0] if credentials else None
    assert [each.title for each in remedies(PRESENTED, IDENTITY, credentials, meant)] == titles


HOSTILE = [
    "x'; rm -rf / #",
    "$(id)",
    "`id`",
    "a b",
    "!!",
    "é",
    "--name",
    "--issuer=https://evil.test/",
    "-",
    "\\",
    '"',
    "*",
    "a\u3000b",
]


@pytest.mark.parametrize("subject", HOSTILE)
def test_what_the_client_sent_is_one_word_of_the_command(subject: str) -> None:
    """Pasted into a shell, no subject is more than a subject."""
    for each in remedies(replace(PRESENTED, subject=subject), IDENTITY, [MEANT], MEANT):
        for words in (_read(each.az), _read(each.wisp)):
            assert f"--subject={subject}" in words
            assert all(word.startswith("--") and "=" in word for word in words[4:])
            assert [word for word in words if word.startswith("--issuer")] == [f"--issuer={ISSUER}"]
    application = Application("c", "o", "p", "deployer", "t")
    for each in remedies(replace(PRESENTED, subject=subject), application, [MEANT], MEANT):
        words = _read(each.az)
        (parameters,) = (word.partition("=")[2] for word in words if word.startswith("--parameters="))
        assert json.loads(parameters)["subject"] == subject


@pytest.mark.parametrize(
    "presented",
    [
        replace(PRESENTED, subject="a\nrm -rf /"),
        replace(PRESENTED, subject="a\x1b[2J"),
        replace(PRESENTED, subject="a\u202eb"),
        replace(PRESENTED, subject="x" * 601),
        replace(PRESENTED, issuer="http://c.test"),
        replace(PRESENTED, audience=""),
        replace(PRESENTED, subject="@/home/me/.ssh/id_rsa"),
        replace(PRESENTED, audience="@secret"),
    ],
    ids=[
        "line break",
        "terminal escape",
        "right to left",
        "too long",
        "not https",
        "no audience",
        "a file",
        "a file as the audience",
    ],
)
def test_what_azure_would_not_take_gets_no_command(presented: Presented) -> None:
    """A terminal never sees such a value; az would read the file that follows an @, and send it to Azure."""
    assert remedies(presented, IDENTITY, [MEANT], MEANT) == ()


@given(st.text(max_size=20), st.lists(st.text(min_size=1, max_size=6), max_size=4))
def test_every_command_can_be_read_back(subject: str, names: list[str]) -> None:
    """Whatever was presented, quoting holds."""
    presented = replace(PRESENTED, subject=subject)
    credentials = [replace(MEANT, name=name, subject=name) for name in names]
    offered: tuple[Remedy, ...] = remedies(presented, IDENTITY, credentials, None)
    for command in (text for each in offered for text in (each.az, each.wisp)):
        words = _read(command)
        assert f"--subject={subject}" in words
