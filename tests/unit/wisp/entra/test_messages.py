"""Messages between the sidecar and the exchange process."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wisp.base.secret import Secret
from wisp.entra.messages import (
    Granted,
    Refused,
    Result,
    TokenKey,
    pack_request,
    pack_result,
    pack_settings,
    unpack_request,
    unpack_result,
    unpack_settings,
)
from wisp.entra.settings import ExchangeSettings

MOST = 212_000
"""Bytes that a packet may have where the system's socket buffers are as Linux makes them."""

text = st.text()
maybe = st.none() | text
numbers = st.none() | st.integers(0, 10**9)
results = st.builds(Granted, text.map(Secret), st.integers(1, 10**9), numbers, numbers, maybe, maybe) | st.builds(
    Refused, st.integers(400, 503), text, text, text, numbers, st.none() | st.floats(0, 1e9)
)


@given(st.integers(1, 10**12), st.builds(TokenKey, text, text, text, text, text), text)
def test_request_survives_packing(number: int, key: TokenKey, request_id: str) -> None:
    assert unpack_request(pack_request(number, key, request_id)) == (number, key, request_id)


def test_largest_request_fits_in_a_packet() -> None:
    """The exchange process reads at most 64 KiB."""
    key = TokenKey("c" * 36, "😀" * 1024, "", "t" * 253, "\x00" * 4096)
    assert len(pack_request(10**9, key, "r" * 36)) < 64 * 1024


@given(st.integers(1, 10**12), results)
def test_result_survives_packing(number: int, result: Result) -> None:
    assert unpack_result(pack_result(number, result)) == (number, result)


def test_settings_survive_packing() -> None:
    """Also with paths that are not UTF-8."""
    settings = ExchangeSettings(None, "tenant", "/var/\udcff/token", "https://a/", None)
    assert ExchangeSettings(*unpack_settings(pack_settings(settings))) == settings


def test_nested_settings_survive_packing() -> None:
    """Secrets are revealed to the exchange process."""
    fields = (("u", None), (Secret("s"),), None)
    assert unpack_settings(pack_settings(fields)) == [["u", None], ["s"], None]


@pytest.mark.parametrize(
    "result",
    [
        pytest.param(Granted(Secret("x" * 65536), 1, 1, 1, "é" * 1024, "😀" * 1024), id="a token"),
        pytest.param(Refused(400, "😀" * 128, "😀" * 4096, "refused", 700213, 1.0), id="a refusal"),
    ],
)
def test_largest_result_fits_in_a_packet(result: Result) -> None:
    assert len(pack_result(10**9, result)) < MOST


@given(st.binary(max_size=60) | st.recursive(st.integers() | st.text(), st.lists).map(json.dumps).map(str.encode))
def test_malformed_packet_raises_value_error(packet: bytes) -> None:
    """The text of the error does not repeat the packet."""
    with pytest.raises(ValueError, match=r"in the packet$") as error:
        unpack_result(packet)
    assert error.value.__cause__ is None


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"[" * 100_000, id="depth"),
        pytest.param(b'[1,"granted"]', id="no fields"),
        pytest.param(b'[1,"granted",7,3600]', id="a number for a token"),
        pytest.param(b'[1,"granted","t","3600"]', id="a text for a lifetime"),
        pytest.param(b'[1,"granted","t",1,2,3,4,5,6,7]', id="too many fields"),
        pytest.param(b'[1,"refused",503]', id="no reason"),
        pytest.param(b'[[1],"refused",503,"e","d","c"]', id="a list for a number"),
        pytest.param(b'["1","refused",503,"e","d","c"]', id="a text for a number"),
        pytest.param(b'[1,0,503,"e","d","c"]', id="another kind"),
        pytest.param(b"{}", id="an object"),
    ],
)
def test_packet_that_is_almost_a_result_is_rejected(packet: bytes) -> None:
    with pytest.raises(ValueError, match="in the packet"):
        unpack_result(packet)
