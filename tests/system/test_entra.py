"""The local Entra with many identities: the real process, over TLS."""

from pathlib import Path
from urllib.parse import parse_qs

import pytest
import urllib3

from bench.entra import fill, requests, serving
from tests.unit.wisp_local.cloud.asgi import FORM
from wisp.entra.exchange.interpret import claims_of

pytestmark = pytest.mark.long

IDENTITIES = 500
"""With 20 federated credentials each; `make bench-cloud` measures it with 10,000."""


def test_every_identity_of_many_gets_its_own_token(tmp_path: Path) -> None:
    state = tmp_path / "large.db"
    fill(state, IDENTITIES)
    token_requests = requests(state, 30)
    with serving(state) as entra, urllib3.PoolManager(ca_certs=entra.ca_file) as pool:
        for body in token_requests.bodies:
            url = f"https://127.0.0.1:{entra.port}{token_requests.path}"
            answer = pool.request("POST", url, body=body, headers={"Content-Type": FORM})
            assert answer.status == 200, answer.data
            assert claims_of(answer.json()["access_token"])["appid"] == parse_qs(body)["client_id"][0]
