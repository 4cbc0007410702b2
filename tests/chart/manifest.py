"""The plain manifest, deploy/wisp.yaml, for users without Helm: `python -m tests.chart.manifest` writes it."""

from tests.chart.cases import NAMESPACE, template
from tests.support.paths import ROOT

MANIFEST = ROOT / "deploy/wisp.yaml"
TENANT = "00000000-0000-0000-0000-000000000000"
"""The placeholder for the tenant in the manifest."""
_HEADING = f"""\
# The chart charts/wisp with its defaults, rendered by `make manifest`; docs/how-to/install.md says how to use it.
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


def manifest() -> str:
    """Render the manifest. Raise AssertionError with helm's message if that fails."""
    done = template("--set", f"azureTenantID={TENANT}")
    assert done.returncode == 0, done.stderr
    lines = (line for line in done.stdout.splitlines() if not line.strip().startswith(_OF_HELM))
    return _HEADING + "\n".join(lines) + "\n"


if __name__ == "__main__":
    MANIFEST.write_text(manifest())
