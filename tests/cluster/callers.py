"""`callers.py`: callers of the token gateway that send requests at the same time, each with its own token.

Standard input is a line of JSON, the settings, and then nothing until it is closed: every caller sends `requests`
requests at least, and goes on until then. Every result is a line of JSON on standard output: caller, status, error,
description, Retry-After, and the identity of the token. A request without a response has the status 0.
"""

import base64
import http.client
import json
import socket
import ssl
import sys
import threading
import time
from typing import Any
from urllib.parse import urlencode

_FORM = {"Content-Type": "application/x-www-form-urlencoded"}
_TIMEOUT = 20  # seconds
_CONNECTION_REQUESTS = 10
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Connection(http.client.HTTPSConnection):
    """A connection to an address, by another name in TLS."""

    def __init__(self, address: str, name: str, context: ssl.SSLContext) -> None:
        super().__init__(address, timeout=_TIMEOUT, context=context)
        self._name = name
        self._tls = context

    def connect(self) -> None:
        """Connect, with the name in the handshake."""
        plain = socket.create_connection((self.host, self.port), self.timeout)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self._name)


def ask(connection: Connection, path: str, form: dict[str, str]) -> list[Any]:
    """Send a token request; return what came of it, without the caller."""
    try:
        connection.request("POST", path, urlencode(form), _FORM)
        response = connection.getresponse()
        document = json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        connection.close()
        return [0, type(error).__name__, str(error), None, ""]
    wait = response.getheader("Retry-After")
    if response.status == 200:
        payload = document["access_token"].split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return [200, "", "", wait, claims["appid"]]
    return [response.status, document["error"], document["error_description"], wait, ""]


def call(settings: dict[str, Any], caller: dict[str, str], over: threading.Event, output: threading.Lock) -> None:
    """Send the requests of one caller."""
    context = ssl.create_default_context(cadata=settings["ca"])
    connection = Connection(settings["address"], settings["server_name"], context)
    form = {
        "grant_type": "client_credentials",
        "client_id": caller["client_id"],
        "scope": caller.get("scope", "https://management.azure.com/.default"),
        "client_assertion_type": _ASSERTION_TYPE,
        "client_assertion": caller["token"],
    }
    path = f"/{settings['tenant']}/oauth2/v2.0/token"
    number = 0
    while number < settings["requests"] or not over.is_set():
        number += 1
        result = json.dumps([caller["name"], *ask(connection, path, form)])
        with output:
            sys.stdout.write(f"{result}\n")
            sys.stdout.flush()
        if number % _CONNECTION_REQUESTS == 0:
            connection.close()
        time.sleep(settings["pause"])
    connection.close()


def main() -> None:
    """Run all callers until standard input is closed."""
    settings = json.loads(sys.stdin.readline())
    over, output = threading.Event(), threading.Lock()
    threads = [threading.Thread(target=call, args=(settings, caller, over, output)) for caller in settings["callers"]]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    over.set()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
