"""Reading and writing of manifests: YAML, JSON, comments and scalars."""

import json
from pathlib import Path

import pytest
import yaml

from tests.unit.wisp.admission.pods import account, pod
from tests.unit.wisp.cli.command import inject, run
from wisp.cli import wisp


@pytest.mark.parametrize(
    "text, printed",
    [
        pytest.param("# whose\n\nkind: A\n---\nkind: B\n", "# whose\n\nkind: A\n---\nkind: B\n", id="comments first"),
        pytest.param("# whose\n--- # mine\nkind: A\n", "# whose\n# mine\nkind: A\n", id="comments before a marker"),
        pytest.param("\ufeffkind: A\r\n---\r\nkind: B\r\n", "kind: A\n---\nkind: B\n", id="CRLF and BOM"),
        pytest.param("kind: A\n---\n\ufeffkind: B\n", "kind: A\n---\nkind: B\n", id="concatenated files"),
        pytest.param("kind: A\n\ufeff---\nkind: B\n", "kind: A\n---\nkind: B\n", id="byte order mark before a marker"),
        pytest.param('\ufeff{"a": 1}\n\ufeff{"b": 2}', '{"a": 1}\n---\n{"b": 2}\n', id="concatenated JSON"),
        pytest.param("a: |+\n  x\n\n---\nkind: B", "a: |+\n  x\n\n---\nkind: B\n", id="empty lines in a block scalar"),
        pytest.param("%YAML 1.1\n---\nkind: A\n...\n%YAML 1.1\n---\nb: 1\n", "kind: A\n---\nb: 1\n", id="directives"),
        pytest.param('{"a": 1e3}\n{"b": [\n]}\n"c"', '{"a": 1e3}\n---\n{"b": [\n]}\n---\n"c"\n', id="JSON"),
    ],
)
def test_markers_between_documents_are_written_again(text: str, printed: str) -> None:
    """Documents stay as they are; only the separators are normalised."""
    assert inject(text).stdout == printed


def test_printed_json_can_be_injected_again() -> None:
    """The output has several JSON documents."""
    documents = "\n---\n".join((json.dumps(account()), json.dumps(pod(serviceAccountName="app")), "- 1", "text"))
    printed = inject(documents, "-o", "json").stdout
    assert printed.count("AZURE_CLIENT_ID") == 1
    assert inject(printed, "-o", "json").stdout == printed
    assert '"n": 1000,' in inject('{"n": 1e3, "m": 0.5}{"n": 1e3}', "-o", "json").stdout


def test_keys_are_text() -> None:
    """Kubectl converts manifests to JSON, whose keys are strings."""
    text = f"{yaml.dump(pod())}novel: {{8080: a, on: b, n: c, 2.5: d, ~: e}}\n"
    novel = {"8080": "a", "true": "b", "false": "c", "2.5": "d", "null": "e"}
    assert json.loads(inject(text, "-o", "json").stdout)["novel"] == novel
    printed = inject(text).stdout
    assert "novel: {8080: a, on: b, n: c, 2.5: d, ~: e}\n" in printed
    assert json.loads(inject(printed, "-o", "json").stdout)["novel"] == novel
    document = {**pod(), "novel": novel}
    assert yaml.safe_load(inject(json.dumps(document)).stdout)["novel"] == novel


def test_text_that_looks_like_another_type_is_quoted() -> None:
    """Readers of YAML 1.1 and 1.2, in Python or Go, then read it as text."""
    words = ["1e3", "0x1f", "0o17", "017", "12:30", "2024-01-01", "y", "No", "null", "~", "", " a", ".5", "+1", "1_0"]
    words += ["- a", "a: b", "a #b", "a:", "é", "two\nlines\n", "tab\tand\n more", "{", "=", "<<", "@a", "1.2.3", "e1"]
    document = pod({"name": "app", "args": words})
    ran = inject(json.dumps(document))
    assert ran.status == 0
    assert yaml.safe_load(ran.stdout)["spec"]["containers"][0]["args"] == words
    for word in ("1e3", "0o17", "y"):  # PyYAML's own reader would take these for text without quotes
        assert f'- "{word}"\n' in ran.stdout


@pytest.mark.parametrize(
    "text, value",
    [
        ("on", True),
        ("y", True),
        ("No", False),
        ("0755", 493),
        ("0o755", 493),
        ("-0x1F", -31),
        ("1_000", 1000),
        ("1e3", 1000),
        ("1e21", 1e21),
        (".5", 0.5),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("~", None),
        ("", None),
        ('"1e3"', "1e3"),
        ("1.2.3", "1.2.3"),
        ("0b11", 3),
        ("08", 8),
        ("1.", 1),
        ("1e400", "1e400"),
    ],
)
def test_scalars_are_read_as_kubectl_reads_them(text: str, value: object) -> None:
    """The output is read as the same value."""
    ran = inject(f"{yaml.dump(pod())}novel: {text}\n", "-o", "json")
    assert repr(json.loads(ran.stdout)["novel"]) == repr(value)
    again = inject(inject(f"{yaml.dump(pod())}novel: {text}\n").stdout, "-o", "json")
    assert json.loads(again.stdout)["novel"] == value


@pytest.mark.parametrize("novel", ["&a [*a]", ".inf", ".nan"])
def test_values_that_json_lacks_are_refused(novel: str) -> None:
    ran = inject(f"{yaml.dump(pod())}novel: {novel}\n", "-o", "json")
    assert (ran.status, ran.stdout) == (1, "")
    assert any(reason in ran.stderr for reason in ("nested too deeply", "not JSON compliant"))


def test_unreadable_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "latin"
    file.write_bytes(b"\xff")
    for path, reason in ((tmp_path / "none", "no such file"), (tmp_path, "is a directory"), (file, "it is not UTF-8")):
        ran = run(wisp, "inject", "-f", str(path), "--tenant-id", "t")
        assert ran.status == 2
        assert f"cannot read {str(path)!r}: {reason}" in ran.stderr


def test_many_comments_with_crlf_are_read_quickly() -> None:
    """The work must not double with every comment."""
    licence = "# line\r\n\r\n" * 200
    text = f"{licence}apiVersion: v1\r\nkind: ConfigMap\r\n"
    assert inject(text).stdout == text.replace("\r\n", "\n")


def test_number_too_long_for_python_is_text() -> None:
    """So are other numbers that are too large."""
    digits = "9" * 5000
    assert json.loads(inject(f"kind: ConfigMap\ndata: {digits}\n", "-o", "json").stdout)["data"] == digits
