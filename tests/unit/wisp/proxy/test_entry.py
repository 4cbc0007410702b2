"""Arguments that `wisp` treats as the sidecar's command line."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "arguments", [("--proxy-port=0",), ("--proxy-port", "0"), ("--log-level=info", "--proxy-port=0")]
)
def test_flags_of_azure_workload_identity_start_the_sidecar(arguments: tuple[str, ...]) -> None:
    """Pods that its webhook mutated start the image's entry point with only the sidecar's flags."""
    results = [
        subprocess.run([sys.executable, "-m", "wisp", *words, *arguments], capture_output=True, text=True, check=False)
        for words in ((), ("proxy",))
    ]
    assert results[0].stderr == results[1].stderr
    assert results[0].returncode == results[1].returncode != 0
    assert "proxy-port" in results[0].stderr


def test_probe_flag_of_azure_workload_identity_starts_the_probe() -> None:
    """It uses the same entry point."""
    results = subprocess.run(
        [sys.executable, "-m", "wisp", "--probe", "--proxy-port=0"], capture_output=True, text=True, check=False
    )
    assert "No such option" not in results.stderr
    assert results.returncode != 0
