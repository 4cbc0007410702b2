"""What a redirect is and what can be found of one: records that cannot be wrong, knowing no tool, file or process."""

import enum
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address

from wisp.base.errors import SettingError
from wisp.redirect.scripts import sentence

MAX_PORT = 2**16 - 1
MAX_UID = 2**32 - 2  # the kernel keeps 2^32-1 for "no user" (user_namespaces(7))


class Backend(enum.Enum):
    """The kernel interface that holds the rule; the two iptables are different ones and do not see each other."""

    NFT = "nft"
    IPTABLES_NFT = "iptables-nft"
    IPTABLES_LEGACY = "iptables-legacy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """TCP to `metadata_ip`:`metadata_port` goes to 127.0.0.1:`proxy_port`, unless the socket is `proxy_uid`'s.

    Raises SettingError, naming the flag, for a port outside 1-65535 or a uid outside 0-4294967294.
    """

    proxy_port: int
    proxy_uid: int
    metadata_ip: IPv4Address
    metadata_port: int

    def __post_init__(self) -> None:
        _check("--proxy-port", self.proxy_port, 1, MAX_PORT)
        _check("--proxy-uid", self.proxy_uid, 0, MAX_UID)
        _check("--metadata-port", self.metadata_port, 1, MAX_PORT)

    def __str__(self) -> str:
        return sentence(self.proxy_port, self.proxy_uid, str(self.metadata_ip), self.metadata_port)


def parse_address(text: str) -> IPv4Address:
    """Read `--metadata-ip`; raises SettingError when it is not a dotted IPv4 address."""
    try:
        return IPv4Address(text)
    except AddressValueError as error:
        raise SettingError(
            f"--metadata-ip is {text!r}, which is not an IPv4 address", hint="give one like 169.254.169.254"
        ) from error


def _check(flag: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise SettingError(f"{flag} is {value}", hint=f"give a whole number from {least} to {most}")


@dataclass(frozen=True, slots=True)
class Absent:
    """Nothing of ours is there."""


@dataclass(frozen=True, slots=True)
class InForce:
    """Our rule is there, whole.

    `jumps`: how many times iptables' OUTPUT chain leads to it (0 with nft). `outdated`: it is as an earlier version
    installed it, so that a service mesh may take the traffic before it does.
    """

    rule: Rule
    jumps: int = 0
    outdated: bool = False


@dataclass(frozen=True, slots=True)
class Altered:
    """Something is there under our name that `up` does not install; `jumps` as in `InForce`."""

    jumps: int = 0


@dataclass(frozen=True, slots=True)
class Unknown:
    """It could not be looked at; `why` is the tool's own text on one line."""

    why: str


Present = Absent | InForce | Altered | Unknown
