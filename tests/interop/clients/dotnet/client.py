"""`client.py FOLDER mi|prod RESOURCE [--twice | --subscriptions]`: Azure's MCP server, in .NET, lists subscriptions.

It is in FOLDER. Its command line knows one Resource Manager, management.azure.com, which it reaches through the HTTP
proxy at WISP_TUNNEL. The name of the subscription that is listed there is the description of the token that was shown;
with --subscriptions, they are any subscriptions. Prints one line of JSON. HOME has to be a folder of its own.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

_CREDENTIALS = {"mi": "ManagedIdentityCredential", "prod": "prod"}
_FIXED = {"AZURE_MCP_COLLECT_TELEMETRY": "false", "NO_PROXY": "127.0.0.1,169.254.169.254"}


class McpError(Exception):
    """The program answered with an error; the text begins with its type."""


def find(folder: str) -> str:
    """Return the program, which npm installs for this machine's architecture alone."""
    return str(next(Path(folder).glob("node_modules/@azure/mcp-*/dist/azmcp")))


def listed(program: str, mode: str) -> list[dict[str, str]]:
    """Return the subscriptions."""
    environment = {**os.environ, **_FIXED, "HTTPS_PROXY": os.environ["WISP_TUNNEL"]}
    environment["AZURE_TOKEN_CREDENTIALS"] = _CREDENTIALS[mode]
    if client_id := os.environ.get("WISP_CLIENT_ID"):
        environment["AZURE_CLIENT_ID"] = client_id
    done = subprocess.run([program, "subscription", "list"], env=environment, capture_output=True, check=False)
    text = done.stdout.decode()
    answer = json.loads(text[text.find("\n{") + 1 :])  # its log may come first
    if done.returncode != 0 or answer["status"] != 200:
        raise McpError(f"{answer['results']['type']}: {' '.join(answer['results']['message'].split())}")
    subscriptions: list[dict[str, str]] = answer["results"]["subscriptions"]
    return subscriptions


def described(subscriptions: list[dict[str, str]]) -> dict[str, object]:
    """Return the subscriptions, or what the name of the only one says."""
    if "--subscriptions" in sys.argv:
        return {"subscriptions": subscriptions}
    shown: dict[str, object] = json.loads(subscriptions[0]["displayName"])
    return shown


def run(program: str, mode: str, *, times: int) -> dict[str, object]:
    """List so many times; return what came of it, and the seconds that each took."""
    seconds: list[float] = []
    start = time.monotonic()
    answer: dict[str, object] = {}
    try:
        for _ in range(times):
            answer = described(listed(program, mode))
            seconds.append(time.monotonic() - start)
            start = time.monotonic()
    except McpError as error:
        return {"ok": False, "error": str(error), "seconds": [*seconds, time.monotonic() - start]}
    return {"ok": True, **answer, "seconds": seconds}


if __name__ == "__main__":
    result = run(find(sys.argv[1]), sys.argv[2], times=2 if "--twice" in sys.argv else 1)
    print(json.dumps(result))  # noqa: T201 -- it is a program
    sys.exit(0 if result["ok"] else 1)
