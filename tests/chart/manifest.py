"""The plain manifests in deploy/, for users without Helm: `python -m tests.chart.manifest` writes them."""

from tests.chart.cases import NAMESPACE, template
from tests.support.paths import ROOT

MANIFEST = ROOT / "deploy/wisp.yaml"
GATEWAY_MANIFEST = ROOT / "deploy/wisp-gateway.yaml"
MANIFESTS = {
    MANIFEST: ("its defaults", ()),
    GATEWAY_MANIFEST: ("gateway.enabled=true and its defaults", ("--set", "gateway.enabled=true")),
}
"""Each manifest with the values of the chart, as its heading describes them and as arguments of helm."""
TENANT = "00000000-0000-0000-0000-000000000000"
"""The placeholder for the tenant in the manifests."""
_HEADING = f"""\
# The chart charts/wisp with {{values}}, rendered by `make manifest`; docs/how-to/install.md says how to use it.
# Put your tenant in place of {TENANT}, and your image in place of wisp.
apiVersion: v1
kind: Namespace
metadata:
  name: {NAMESPACE}
  labels:
    pod-security.kubernetes.io/enforce: restricted
    pod-security.kubernetes.io/enforce-version: latest
"""
_OF_HELM = ("helm.sh/chart:", "app.kubernetes.io/managed-by:", "# Source:")


def manifest(values: str, arguments: tuple[str, ...]) -> str:
    """Render a manifest. Raise AssertionError with helm's message if that fails."""
    done = template("--set", f"azureTenantID={TENANT}", *arguments)
    assert done.returncode == 0, done.stderr
    lines = (line for line in done.stdout.splitlines() if not line.strip().startswith(_OF_HELM))
    return _HEADING.format(values=values) + "\n".join(lines) + "\n"


if __name__ == "__main__":
    for path, (description, options) in MANIFESTS.items():
        path.write_text(manifest(description, options))
