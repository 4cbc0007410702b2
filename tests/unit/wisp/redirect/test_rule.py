"""A rule cannot be wrong."""

from ipaddress import IPv4Address

import pytest

from wisp.base.errors import SettingError
from wisp.redirect.rule import MAX_UID, Rule, parse_address

IMDS = IPv4Address("169.254.169.254")


@pytest.mark.parametrize(
    "port, uid, metadata_port", [(1, 0, 65535), (65535, MAX_UID, 1), (8000, 1501, 80)], ids=["low", "high", "default"]
)
def test_the_whole_range_is_taken(port: int, uid: int, metadata_port: int) -> None:
    """Ports go from 1 to 65535, uids from 0 to 4294967294."""
    rule = Rule(proxy_port=port, proxy_uid=uid, metadata_ip=IMDS, metadata_port=metadata_port)
    assert str(rule) == f"TCP to {IMDS}:{metadata_port} goes to 127.0.0.1:{port}, except from uid {uid}"


@pytest.mark.parametrize(
    "flag, numbers",
    [
        ("--proxy-port", (0, 1501, 80)),
        ("--proxy-port", (65536, 1501, 80)),
        ("--proxy-uid", (8000, -1, 80)),
        ("--proxy-uid", (8000, 2**32 - 1, 80)),
        ("--metadata-port", (8000, 1501, 0)),
        ("--metadata-port", (8000, 1501, 70000)),
    ],
)
def test_out_of_range_names_the_flag(flag: str, numbers: tuple[int, int, int]) -> None:
    """A number out of range is refused with the flag, the value and the range."""
    port, uid, metadata_port = numbers
    with pytest.raises(SettingError, match=rf"^{flag} is -?\d+: give a whole number from [01] to \d+$"):
        Rule(proxy_port=port, proxy_uid=uid, metadata_ip=IMDS, metadata_port=metadata_port)


@pytest.mark.parametrize(
    "text", ["", "localhost", "::1", "169.254.169", "169.254.169.254/32", "1.2.3.04", "1.2.3.4; flush ruleset"]
)
def test_only_a_dotted_address_is_one(text: str) -> None:
    """What is not exactly an IPv4 address never gets into a script."""
    with pytest.raises(SettingError, match="--metadata-ip"):
        parse_address(text)


def test_an_address_is_read() -> None:
    """The usual address reads as itself."""
    assert parse_address("169.254.169.254") == IMDS
