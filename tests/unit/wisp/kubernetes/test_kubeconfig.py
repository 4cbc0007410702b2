"""Parsing and flattening of kubeconfigs."""

import pytest
import yaml

from wisp.kubernetes.kubeconfig import KubeconfigError, parse_kubeconfig

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
