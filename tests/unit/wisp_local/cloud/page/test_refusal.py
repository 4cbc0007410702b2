"""The commands that fix a refusal, and an assertion outside its valid time."""

import json
import shlex
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wisp_local.cloud.entra.directory import DEFAULT_AUDIENCE, Application, FederatedCredential, ManagedIdentity
from wisp_local.cloud.page.refusal import Remedy, remedies, time_problem
from wisp_local.cloud.page.tokens import Decoded, Presented

NOW = 1_760_000_000
SA = "system:serviceaccount:"
ISSUER = "https://cloud.test/oidc/1/"
PRESENTED = Presented(ISSUER, f"{SA}kube-system:wi-demo-sa", DEFAULT_AUDIENCE)
IDENTITY = ManagedIdentity("s", "RG", "wi-demo-identity", "eastus", "c", "p", "t")
MEANT = FederatedCredential("federated-id", ISSUER, f"{SA}default:wi-demo-sa", (DEFAULT_AUDIENCE,))


def _read(command: str) -> list[str]:
    return shlex.split(command.replace("\\\n", " "))


def test_remedies_are_correcting_or_adding_a_credential() -> None:
    """Only a person knows which was meant; a new credential gets an unused name."""
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
def test_only_remedies_that_azure_accepts_are_offered(
    credentials: tuple[FederatedCredential, ...], titles: list[str]
) -> None:
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
def test_presented_value_is_one_word_of_the_command(subject: str) -> None:
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
def test_value_that_azure_refuses_gets_no_command(presented: Presented) -> None:
    """A terminal never sees such a value; az would read the file that follows an @, and send it to Azure."""
    assert remedies(presented, IDENTITY, [MEANT], MEANT) == ()


@given(st.text(max_size=20), st.lists(st.text(min_size=1, max_size=6), max_size=4))
def test_every_command_can_be_parsed_again(subject: str, names: list[str]) -> None:
    """Quoting works for any value."""
    presented = replace(PRESENTED, subject=subject)
    credentials = [replace(MEANT, name=name, subject=name) for name in names]
    offered: tuple[Remedy, ...] = remedies(presented, IDENTITY, credentials, None)
    for command in (text for each in offered for text in (each.az, each.wisp)):
        words = _read(command)
        assert f"--subject={subject}" in words


@pytest.mark.parametrize(
    "payload, words",
    [
        ({"exp": NOW - 65}, "expired 1 min 5 s before it was presented"),
        ({"exp": NOW}, "expired 0 s before it was presented"),
        ({"exp": NOW + 9, "nbf": NOW + 5}, "is valid only 5 s after it was presented"),
        ({"exp": NOW + 9, "nbf": NOW}, ""),
        ({"exp": "soon"}, "has no expiry"),
    ],
)
def test_time_problem_says_how_far_outside(payload: dict[str, object], words: str) -> None:
    """The span is in its two largest units."""
    assert time_problem(Decoded({}, payload), NOW) == words
