"""`wisp webhook review` reads reviews on standard input and prints answers."""

import json
from pathlib import Path

import pytest
import yaml

from tests.unit.wisp.admission.pods import account, pod, review, with_sidecar
from tests.unit.wisp.cli.command import TENANT, CommandResult, run
from wisp.cli.review import review as command


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    """Return a file with one service account."""
    file = tmp_path / "accounts.yaml"
    file.write_text(yaml.dump(account()))
    return file


def reviewed(text: str, file: Path, *arguments: str) -> CommandResult:
    """Run `wisp webhook review` with `text` as standard input."""
    return run(command, "--service-accounts", str(file), *TENANT, *arguments, text=text)


def test_answers_are_printed_one_per_line(file: Path) -> None:
    """They have the order of the reviews; blank lines are skipped."""
    documents = [
        review(pod(serviceAccountName="app"), uid="1"),
        review(pod(serviceAccountName="nobody"), uid="2"),
        review({}, uid="3"),
    ]
    text = "\n\n".join(map(json.dumps, documents))
    ran = reviewed(text, file)
    assert ran.status == 0
    answers = [json.loads(line)["response"] for line in ran.stdout.splitlines()]
    assert [(answer["uid"], answer["allowed"], "patch" in answer) for answer in answers] == [
        ("1", True, True),
        ("2", False, False),
        ("3", True, False),
    ]


def test_label_on_the_account_only_causes_a_warning(file: Path) -> None:
    """A pod without the label is admitted unchanged, with a warning if its account asks for an identity."""
    document = pod(serviceAccountName="app")
    document["metadata"]["labels"] = {}
    answer = json.loads(reviewed(json.dumps(review(document)), file).stdout)["response"]
    assert (answer["allowed"], "patch" in answer) == (True, False)
    assert [warning.partition(",")[0] for warning in answer["warnings"]] == ["service account app asks for an identity"]


@pytest.mark.parametrize("version, is_warned", [((), True), (("--server-version", "1.34"), False)])
def test_server_version_decides_about_native_sidecars(file: Path, version: tuple[str, ...], *, is_warned: bool) -> None:
    """A Job's pod ends only with a native sidecar; otherwise there is a warning."""
    document = json.dumps(review(with_sidecar(serviceAccountName="app", restartPolicy="Never")))
    answer = json.loads(reviewed(document, file, *version).stdout)["response"]
    assert ("warnings" in answer) is is_warned


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "review 2: the body is not JSON: "),
        ("[]", "review 2: the body is not an Admission"),
        ('{"a":' + "[" * 100_000, "review 2: the body is nested too deeply"),
    ],
    ids=["not JSON", "not a review", "nested too deeply"],
)
def test_invalid_review_ends_the_command_with_its_number(file: Path, text: str, message: str) -> None:
    """The answers to earlier reviews are printed."""
    ran = reviewed(f"{json.dumps(review({}))}\n{text}\n", file)
    assert ran.status == 1
    assert len(ran.stdout.splitlines()) == 1
    assert message in ran.stderr
