"""How fast the local Entra answers when it knows very many identities: the real process, over TLS."""

import statistics
from pathlib import Path

import pytest

from bench.cloud import latencies
from bench.entra import fill, requests, serving

pytestmark = pytest.mark.long

IDENTITIES = 10_000
"""With 20 federated credentials each."""
MOST = 0.005
"""Seconds that the median exchange may take; it takes a sixth of that on a quiet machine."""
LONGEST_FILL = 120
"""Seconds to make them all; it takes five."""


def test_an_exchange_among_ten_thousand_identities(tmp_path: Path) -> None:
    """Under 5 ms at the median, one connection, every request for another identity.

    A busy machine gets five tries, for noise only ever adds.
    """
    state = tmp_path / "large.db"
    assert fill(state, IDENTITIES) < LONGEST_FILL
    asked = requests(state, 200)
    medians: list[float] = []
    with serving(state) as entra:
        while len(medians) < 5 and min(medians, default=MOST) >= MOST:
            medians.append(statistics.median(latencies(entra, asked)))
    assert min(medians) < MOST, medians
