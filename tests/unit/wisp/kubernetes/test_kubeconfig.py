"""Parsing and flattening of kubeconfigs."""

import pytest
import yaml

from wisp.kubernetes.kubeconfig import (
    KubeconfigError,
    context_names,
    parse_kubeconfig,
    read_kubeconfig,
    select_context,
)

KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: lab
contexts:
- {name: other, context: {cluster: x, user: x}}
- {name: lab, context: {cluster: c, user: u, namespace: n}}
clusters:
- {name: c, cluster: {server: "https://127.0.0.1:6443", certificate-authority: ca.pem}}
users:
- {name: u, user: {client-certificate: tls.crt, client-key-data: a2V5}}
"""


def test_flattened_kubeconfig_holds_the_current_context_and_the_contents_of_its_files() -> None:
    """The YAML has the given names and refers to no file."""
    config = parse_kubeconfig(KUBECONFIG)
    assert config.files() == {"certificate-authority": "ca.pem", "client-certificate": "tls.crt"}
    flattened = config.flattened({"certificate-authority": b"ca", "client-certificate": b"crt"})
    assert flattened.files() == {}
    assert (flattened.data("client-key"), flattened.data("client-certificate")) == (b"key", b"crt")
    text = flattened.document(cluster="wilab", user="u2", context="wilab")
    assert parse_kubeconfig(text) == flattened
    document = yaml.safe_load(text)
    assert document["current-context"] == "wilab"
    assert document["clusters"] == [
        {"name": "wilab", "cluster": {"server": "https://127.0.0.1:6443", "certificate-authority-data": "Y2E="}}
    ]
    assert document["users"] == [{"name": "u2", "user": {"client-key-data": "a2V5", "client-certificate-data": "Y3J0"}}]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "[]",
        "a: b",
        KUBECONFIG.replace("current-context: lab", "current-context: no"),
        KUBECONFIG.replace("cluster: c,", "cluster: gone,"),
        KUBECONFIG.replace("user: {client", "other: {client"),
        KUBECONFIG.replace("server:", "no:"),
    ],
    ids=["empty", "not YAML", "list", "no context", "other context", "no cluster", "no user", "no server"],
)
def test_unusable_text_is_rejected(text: str) -> None:
    """The reason is one line and quotes no credentials."""
    with pytest.raises(KubeconfigError) as raised:
        parse_kubeconfig(text)
    assert "\n" not in str(raised.value)
    assert "a2V5" not in str(raised.value)


def test_inline_data_that_is_not_base64_is_rejected() -> None:
    """The message has the name of the entry but not its value."""
    config = parse_kubeconfig(KUBECONFIG.replace("a2V5", "'s!cret'"))
    with pytest.raises(KubeconfigError, match="client-key-data is not base64") as raised:
        config.data("client-key")
    assert "cret" not in str(raised.value)
    assert "cret" not in repr(config)


OTHER = """
contexts:
- {name: lab, context: {cluster: gone, user: gone}}
- {name: far, context: {cluster: far, user: u}}
clusters:
- {name: far, cluster: {server: "https://far.test"}}
- {name: c, cluster: {server: "https://hidden.test"}}
current-context: far
"""


def test_first_document_with_an_entry_wins() -> None:
    """As in kubectl, for the files of KUBECONFIG."""
    documents = [read_kubeconfig(""), read_kubeconfig(KUBECONFIG), read_kubeconfig(OTHER)]
    assert select_context(documents) == parse_kubeconfig(KUBECONFIG)
    assert context_names(documents) == ["other", "lab", "far"]


def test_context_may_be_chosen_and_refer_to_entries_of_other_documents() -> None:
    config = select_context([read_kubeconfig(KUBECONFIG), read_kubeconfig(OTHER)], "far")
    assert (config.context, config.cluster["server"]) == ("far", "https://far.test")
    assert config.data("client-key") == b"key"


def test_unknown_context_is_named() -> None:
    with pytest.raises(KubeconfigError, match="contexts has no 'prod'"):
        select_context([read_kubeconfig(KUBECONFIG)], "prod")


@pytest.mark.parametrize(
    "user, path",
    [
        ({"tokenFile": "t"}, "/home/jane/.kube/t"),
        ({"tokenFile": "/run/t"}, "/run/t"),
        ({"client-certificate": "../t"}, "/home/jane/.kube/../t"),
        ({"exec": {"command": "./kubelogin"}}, "/home/jane/.kube/./kubelogin"),
        ({"exec": {"command": "kubelogin"}}, "kubelogin"),
        ({"exec": {"command": "/bin/kubelogin"}}, "/bin/kubelogin"),
    ],
    ids=["relative", "absolute", "parent", "command with a slash", "command", "absolute command"],
)
def test_relative_paths_are_those_of_the_file(user: dict[str, object], path: str) -> None:
    document = read_kubeconfig(yaml.safe_dump({"users": [{"name": "u", "user": user}]}), "/home/jane/.kube")
    [value] = document["users"][0]["user"].values()
    assert path in (value, value["command"] if isinstance(value, dict) else "")
