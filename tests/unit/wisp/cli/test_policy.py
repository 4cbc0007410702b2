"""Options of the policy: defaults, environment variables and errors."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from tests.support.paths import ROOT
from tests.unit.wisp.admission.pods import TENANT
from tests.unit.wisp.cli.command import CommandResult, run
from wisp.admission.policy import (
    ConfigMapCA,
    CustomTokenEndpoint,
    EndpointCA,
    InlineCA,
    NativeSidecar,
    Policy,
    Requirement,
    Resources,
    TrustBundleCA,
    UnknownCA,
)
from wisp.cli.policy import policy_options, server_policy_options

PEM = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"
BINDING = (
    *("--custom-token-endpoint", "https://10.0.0.1/x"),
    *("--custom-token-endpoint-annotation-suffix", "binding"),
    *("--custom-token-endpoint-audience", "api://binding"),
)

SELECTOR = json.dumps(
    {
        "matchLabels": {"a": "b"},
        "matchExpressions": [
            {"key": "example.com/tier", "operator": "In", "values": ["x", "y"]},
            {"key": "old", "operator": "DoesNotExist"},
        ],
    },
    separators=(",", ":"),
)
REQUIREMENTS = (Requirement("example.com/tier", "In", ("x", "y")), Requirement("old", "DoesNotExist"))


def policy(
    *arguments: str, environ: dict[str, str] | None = None, options: Callable[..., Any] = policy_options
) -> tuple[Policy | None, CommandResult]:
    """Parse options; return the policy, or None after an error, and the result of the command."""
    policies: list[Policy] = []

    @click.command()
    @click.option("--own")
    @options
    def command(own: str | None, policy: Policy) -> None:
        assert own is None
        policies.append(policy)

    ran = run(command, *arguments, environ=environ)
    return (policies[0] if policies else None), ran


def parse_policy(*arguments: str, **environ: str) -> Policy:
    """Parse valid options; return the policy."""
    result, ran = policy("--tenant-id", TENANT, *arguments, environ=environ)
    assert result is not None, ran
    return result


def test_policy_needs_only_a_tenant() -> None:
    assert parse_policy() == Policy(tenant_id=TENANT)
    assert parse_policy().authority_host == "https://login.microsoftonline.com/"
    assert parse_policy().server_version is None


def test_tenant_and_authority_are_read_from_the_environment() -> None:
    """The chart sets these variables."""
    environ = {"AZURE_TENANT_ID": TENANT, "AZURE_ENVIRONMENT": "AzureChinaCloud"}
    result, _ = policy(environ=environ)
    assert result == Policy(tenant_id=TENANT, authority_host="https://login.chinacloudapi.cn/")
    result, _ = policy(environ={**environ, "AZURE_AUTHORITY_HOST": "login.test"})
    assert result == Policy(tenant_id=TENANT, authority_host="https://login.test/")


def test_every_option_sets_its_field_of_the_policy(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text(PEM)
    arguments = (
        "--audience=a --proxy-image=p:1 --redirect-image=r:1 --image-pull-policy=Always --native-sidecar=never "
        "--proxy-cpu-request=1 --proxy-cpu-limit=2 --proxy-memory-request=3 --proxy-memory-limit= "
        "--redirect-cpu-request= --redirect-cpu-limit=6 --redirect-memory-request=7 --redirect-memory-limit=8 "
        "--proxy-log-level=debug --proxy-passthrough=versions,instance "
        f"--inject-proxy-only --legacy-token-mount --authority-ca={file}"
    )
    assert parse_policy(*arguments.split(" ")) == Policy(
        tenant_id=TENANT,
        audience="a",
        proxy_image="p:1",
        redirect_image="r:1",
        image_pull_policy="Always",
        native_sidecar=NativeSidecar.NEVER,
        proxy_resources=Resources(cpu_request="1", cpu_limit="2", memory_request="3"),
        redirect_resources=Resources(cpu_limit="6", memory_request="7", memory_limit="8"),
        proxy_log_level="debug",
        passthrough=("instance", "versions"),
        proxy_only=True,
        legacy_token_mount=True,
        authority_ca=PEM,
    )
    assert parse_policy("--proxy-image=p:1").redirect_image == "p:1"


def test_token_endpoint_is_read_from_options(tmp_path: Path) -> None:
    """The CA is optional and comes from one of three sources."""
    file = tmp_path / "ca.pem"
    file.write_text(PEM)
    given: list[tuple[str, EndpointCA | None]] = [
        ("", None),
        ("--custom-token-endpoint-ca-configmap=wi-ca", ConfigMapCA("wi-ca")),
        ("--custom-token-endpoint-ca-bundle-signer=a.test/b", TrustBundleCA("a.test/b")),
        (
            "--custom-token-endpoint-ca-bundle-signer=a.test/b --custom-token-endpoint-ca-bundle-labels=a=b,c=",
            TrustBundleCA("a.test/b", (("a", "b"), ("c", ""))),
        ),
        (
            f"--custom-token-endpoint-ca-bundle-signer=a.test/b --custom-token-endpoint-ca-bundle-selector={SELECTOR}",
            TrustBundleCA("a.test/b", (("a", "b"),), REQUIREMENTS),
        ),
        (
            "--custom-token-endpoint-ca-bundle-signer=a.test/b --custom-token-endpoint-ca-bundle-selector={}",
            TrustBundleCA("a.test/b"),
        ),
        (f"--custom-token-endpoint-ca={file}", InlineCA(PEM)),
    ]
    for arguments, ca in given:
        assert parse_policy(
            *BINDING, "--custom-token-endpoint-sni-name=sni.test", *arguments.split()
        ).token_endpoint == (
            CustomTokenEndpoint(
                suffix="binding", audience="api://binding", url="https://10.0.0.1/x", sni_name="sni.test", ca=ca
            )
        )


def test_token_endpoint_is_read_from_the_environment() -> None:
    """The variables are azure-workload-identity's; empty ones are ignored."""
    prefix = "AZURE_KUBERNETES_"
    environ = {f"{prefix}TOKEN_PROXY": "https://10.0.0.1/x", f"{prefix}SNI_NAME": "sni.test"}
    given: list[tuple[dict[str, str], EndpointCA | None]] = [
        ({}, None),
        ({"CA_DATA": PEM}, InlineCA(PEM)),
        ({"CA_CONFIGMAP_NAME": "wi-ca", "CA_DATA": "", "CA_CTB_SIGNER_NAME": ""}, ConfigMapCA("wi-ca")),
        ({"CA_CTB_SIGNER_NAME": "a.test/b"}, TrustBundleCA("a.test/b")),
        (
            {"CA_CTB_SIGNER_NAME": "a.test/b", "CA_CTB_LABEL_SELECTOR": SELECTOR, "CA_CONFIGMAP_NAME": ""},
            TrustBundleCA("a.test/b", (("a", "b"),), REQUIREMENTS),
        ),
        ({"CA_CTB_SIGNER_NAME": "a.test/b", "CA_CTB_LABEL_SELECTOR": " "}, TrustBundleCA("a.test/b")),
    ]
    for more, ca in given:
        endpoint = parse_policy(
            *BINDING[2:], **environ, **{prefix + name: value for name, value in more.items()}
        ).token_endpoint
        assert endpoint is not None
        assert (endpoint.url, endpoint.sni_name, endpoint.ca) == ("https://10.0.0.1/x", "sni.test", ca)


@pytest.mark.parametrize(
    "selector, message",
    [
        pytest.param("a=b", "is not a label selector: ", id="kubectl's syntax"),
        pytest.param("[" * 100_000, "is not a label selector: ", id="nested too deeply"),
        pytest.param("[]", "Expected `object`, got `array`", id="list"),
        pytest.param('{"matchLabel": {"a": "b"}}', "unknown field `matchLabel`", id="misspelt field"),
        pytest.param(
            '{"matchLabels": {"a": 1}}',
            "Expected `str`, got `int` - at `$.matchLabels[...]`",
            id="label that is a number",
        ),
        pytest.param('{"matchLabels": ["a"]}', "got `array` - at `$.matchLabels`", id="labels in a list"),
        pytest.param('{"matchLabels": {"a b": "c"}}', "an invalid label key: 'a b'", id="invalid label key"),
        pytest.param('{"matchLabels": {"a": "b c"}}', "an invalid label value: 'b c'", id="invalid label value"),
        pytest.param('{"matchExpressions": [], "matchLabels": null}', None, id="empty selector"),
        pytest.param(
            '{"matchExpressions": {"key": "a"}}',
            "got `object` - at `$.matchExpressions`",
            id="expressions as an object",
        ),
        pytest.param('{"matchExpressions": ["a"]}', "got `str` - at `$.matchExpressions[0]`", id="expression as text"),
        pytest.param(
            '{"matchExpressions": [{"key": "a", "op": "In"}]}',
            "unknown field `op` - at `$.matchExpressions[0]`",
            id="unknown field",
        ),
        pytest.param('{"matchExpressions": [{"key": "a"}]}', "missing required field `operator`", id="no operator"),
        pytest.param(
            '{"matchExpressions": [{"key": "a", "operator": "In", "values": "b"}]}',
            "got `str` - at `$.matchExpressions[0].values`",
            id="values as text",
        ),
        pytest.param(
            '{"matchExpressions": [{"key": "a", "operator": "Is", "values": ["b"]}]}', "'Is'", id="unknown operator"
        ),
        pytest.param(
            '{"matchExpressions": [{"key": "a", "operator": "In"}]}',
            "no values for the operator",
            id="In without values",
        ),
        pytest.param(
            '{"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}',
            "has values",
            id="Exists with values",
        ),
    ],
)
def test_label_selector_is_checked_as_kubernetes_checks_it(selector: str, message: str | None) -> None:
    """A selector that Kubernetes would reject in every pod is rejected when the webhook starts."""
    signer = "--custom-token-endpoint-ca-bundle-signer=a.test/b"
    result, ran = policy(
        "--tenant-id", TENANT, *BINDING, signer, f"--custom-token-endpoint-ca-bundle-selector={selector}"
    )
    if message is None:
        assert result is not None
        assert result.token_endpoint is not None
        assert result.token_endpoint.ca == TrustBundleCA("a.test/b")
        return
    assert (result, ran.status) == (None, 2)
    assert message in ran.stderr


def test_pods_get_only_the_certificates_of_the_ca(tmp_path: Path) -> None:
    """Every container gets a copy of it; a key that is in the same file must not be in any."""
    file = tmp_path / "ca.pem"
    file.write_text(f"# comment\n-----BEGIN PRIVATE KEY-----\nMA==\n-----END PRIVATE KEY-----\n{PEM}subject: x\n{PEM}")
    for argument in (f"--custom-token-endpoint-ca={file}", f"--custom-token-endpoint-ca-data={file.read_text()}"):
        endpoint = parse_policy(*BINDING, argument).token_endpoint
        assert endpoint is not None
        assert endpoint.ca == InlineCA(PEM + PEM)


def test_server_reads_the_ca_of_the_token_endpoint_itself(tmp_path: Path) -> None:
    """The file may come later, with the gateway; a command that ends before that refuses a missing file."""
    file = tmp_path / "ca.pem"
    arguments = ("--tenant-id", TENANT, *BINDING, f"--custom-token-endpoint-ca={file}")
    found, _ = policy(*arguments, options=server_policy_options)
    assert found is not None
    assert found.token_endpoint is not None
    assert found.token_endpoint.ca == UnknownCA(str(file))
    _, ran = policy(*arguments)
    assert ran.status == 2
    assert f"--custom-token-endpoint-ca '{file}': no such file" in ran.stderr
    file.write_text("-----BEGIN CERTIFICATE-----\n")
    assert "holds no certificate" in policy(*arguments)[1].stderr


def test_url_alone_does_not_enable_the_token_endpoint() -> None:
    """The environment may contain the URL for other reasons."""
    assert parse_policy(AZURE_KUBERNETES_TOKEN_PROXY="https://10.0.0.1/").token_endpoint is None


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--tenant-id", "no tenant"], "--tenant-id is not a tenant: 'no tenant'"),
        (
            ["--environment", "AzureMoonCloud"],
            "--environment is not an Azure cloud: 'AzureMoonCloud': use AzurePublicCloud",
        ),
        (["--authority-host", "http://x"], "--authority-host is not an https URL: 'http://x'"),
        (["--audience", " "], "--audience is empty"),
        (["--proxy-image", ""], "--proxy-image is not an image: ''"),
        (["--redirect-image", "a b"], "--redirect-image is not an image: 'a b'"),
        (["--proxy-cpu-limit", "much"], "cpu limit is not a quantity: 'much'"),
        (["--authority-ca", "/no/where"], "--authority-ca '/no/where': no such file"),
        (["--authority-ca", str(ROOT / "LICENSE")], "holds no certificate"),
        ([*BINDING[:4]], "needs both an annotation suffix and an audience"),
        ([*BINDING[2:]], "--custom-token-endpoint is not an https URL: ''"),
        ([*BINDING, "--custom-token-endpoint", "http://x"], "--custom-token-endpoint is not an https URL: 'http://x'"),
        ([*BINDING, BINDING[4], "api://AzureADTokenExchange"], "is the default audience"),
        ([*BINDING, BINDING[2], "a/b"], "-annotation-suffix is invalid: 'a/b'"),
        ([*BINDING, "--custom-token-endpoint-sni-name", "a b"], "-sni-name is not a DNS name: 'a b'"),
        (
            [*BINDING, "--custom-token-endpoint-ca-bundle-signer=a", "--custom-token-endpoint-ca-bundle-labels=b"],
            "as key",
        ),
        (
            [*BINDING, "--custom-token-endpoint-ca-bundle-signer=a", "--custom-token-endpoint-ca-configmap=b"],
            "give one",
        ),
        ([*BINDING, f"--custom-token-endpoint-ca-data={PEM}", "--custom-token-endpoint-ca-configmap=b"], "give one"),
        ([*BINDING, "--custom-token-endpoint-ca-data=/etc/ca.pem"], "-ca-data holds no certificate"),
        ([*BINDING, "--custom-token-endpoint-ca-bundle-labels=a=b"], "without their signer"),
        ([*BINDING, f"--custom-token-endpoint-ca-bundle-selector={SELECTOR}"], "without their signer"),
        (
            [
                *(
                    *BINDING,
                    "--custom-token-endpoint-ca-bundle-signer=a",
                    "--custom-token-endpoint-ca-bundle-labels=a=b",
                ),
                f"--custom-token-endpoint-ca-bundle-selector={SELECTOR}",
            ],
            "are both given",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_option_is_named_with_a_hint(arguments: list[str], message: str) -> None:
    """The exit status is 2."""
    result, ran = policy("--tenant-id", TENANT, *arguments)
    assert result is None
    assert ran.status == 2
    assert message in ran.stderr


def test_every_option_is_documented() -> None:
    """Options of the redirect container are documented with those of the sidecar, in docs/reference/admission.md."""
    documented = (ROOT / "docs/reference/admission.md").read_text(encoding="utf-8").split("## The policy")[1]

    @click.command()
    @policy_options
    def command(policy: Policy) -> None: ...

    options = {option for parameter in command.params for option in parameter.opts}
    assert len(options) > 20
    assert [
        flag
        for flag in options
        if f"`{flag.replace('--redirect-cpu', '--proxy-cpu').replace('--redirect-mem', '--proxy-mem')}"
        not in documented
    ] == []
