"""The published Go module of azure-workload-identity v1.6.0, from `go mod download`; nothing is copied here."""

import functools
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

_MODULE = "github.com/Azure/azure-workload-identity@v1.6.0"
_SUM = "h1:ODInOIk2hXSrUI0Hjtw8HMUpFGMbewlFSc2rQenA9Yg="
"""The hash of the module, as in go.sum."""
_READ = re.compile(r'envconfig:"(\w+)"')
_FLAG = re.compile(r'flag\.\w+Var\(&\w+, "([^"]+)"')


@functools.cache
def module() -> Path:
    """Return the folder of the module in Go's cache. Raise AssertionError with go's message if the download fails."""
    command = ["go", "mod", "download", "-json", _MODULE]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300, env={**os.environ, "GOFLAGS": "-modcacherw"}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    downloaded = json.loads(done.stdout)
    assert downloaded["Sum"] == _SUM
    return Path(downloaded["Dir"])


def values_file() -> Path:
    """Return the values.yaml of its chart."""
    return module() / "charts" / "workload-identity-webhook" / "values.yaml"


def values() -> dict[str, Any]:
    """Return the values of its chart."""
    read: dict[str, Any] = yaml.safe_load(values_file().read_text(encoding="utf-8"))
    return read


def variables() -> set[str]:
    """Return the names of the variables that its webhook reads."""
    return set(_READ.findall((module() / "pkg/config/config.go").read_text(encoding="utf-8")))


def flags() -> set[str]:
    """Return the names of its webhook's flags."""
    return set(_FLAG.findall((module() / "cmd/webhook/main.go").read_text(encoding="utf-8")))
