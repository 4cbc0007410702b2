"""Cases for rendering the chart: values in `tests/chart/values/NAME.yaml`, with a tenant added."""

import functools
import subprocess
from pathlib import Path

from tests.helm.build import KUBERNETES, helm
from tests.support.paths import ROOT

CHART = ROOT / "charts/wisp"
VALUES = Path(__file__).parent / "values"
GOLDEN = ROOT / "tests/golden/chart"
CASES = tuple(sorted(path.stem for path in VALUES.glob("*.yaml")))
TENANT = "0f1e2d3c-0000-4000-8000-000000000001"
NAMESPACE = "wisp-system"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run helm."""
    return subprocess.run([helm(), *arguments], capture_output=True, text=True, check=False, timeout=120)


def template(*arguments: str, release: str = "wisp") -> subprocess.CompletedProcess[str]:
    """Render the chart with additional arguments for `helm template`."""
    version = f"{KUBERNETES[0]}.{KUBERNETES[1]}.0"
    return run("template", release, str(CHART), "-n", NAMESPACE, "--kube-version", version, *arguments)


@functools.cache
def rendered(case: str) -> str:
    """Render a case. Raise AssertionError with helm's message if that fails."""
    done = template("--values", str(VALUES / f"{case}.yaml"), "--set", f"azureTenantID={TENANT}")
    assert done.returncode == 0, done.stderr
    return done.stdout


if __name__ == "__main__":
    for name in CASES:
        (GOLDEN / f"{name}.yaml").write_text(rendered(name))
