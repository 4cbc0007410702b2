"""Decides which api-versions the token endpoint serves. Pure.

Sources: the published versions of the instance metadata service (azure-rest-api-specs, specification/imds) that have
/metadata/identity/oauth2/token, and App Service's REST endpoint reference. They all ask for a token in the same way,
so a version that is published after this release is served too: SDKs move to new versions before pods do.
"""

from typing import NamedTuple

_DIGITS = frozenset("0123456789")
_LONGEST_MONTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


class Versions(NamedTuple):
    """The api-versions of one dialect: the published ones, oldest first, and whether later dates are served too."""

    published: tuple[str, ...]
    later: bool = True

    def include(self, version: str | None) -> bool:
        """Say whether `version` is served."""
        if version is None:
            return False
        return version in self.published or (self.later and version > self.published[-1] and is_date(version))

    def described(self) -> str:
        """Return the text that names the versions in an error."""
        return ", ".join(self.published) + (" and later dates (YYYY-MM-DD)" if self.later else "")


METADATA_SERVICE = Versions(
    (
        "2018-02-01", "2018-04-02", "2018-10-01", "2019-02-01", "2019-03-11", "2019-04-30", "2019-06-01", "2019-06-04",
        "2019-08-01", "2019-08-15", "2019-11-01", "2020-06-01", "2020-07-15", "2020-09-01", "2020-10-01", "2020-12-01",
        "2021-01-01", "2021-02-01", "2021-03-01", "2021-05-01", "2021-08-01", "2021-10-01", "2021-11-01", "2021-11-15",
        "2021-12-13", "2023-07-01", "2023-11-15", "2024-03-15", "2024-07-17", "2025-04-07",
    )
)  # fmt: skip
APP_SERVICE = Versions(("2019-08-01",))
SERVICE_FABRIC = Versions(("2019-07-01-preview",), later=False)
"""MSAL asks so if IDENTITY_SERVER_THUMBPRINT is set, and only then says which token a resource rejected."""
OLD_APP_SERVICE = Versions(("2017-09-01",), later=False)
"""Also of Azure Machine Learning. It has another header and another selector, so no later version is like it."""


def is_date(text: str) -> bool:
    """Say whether `text` is a date of the calendar in the form YYYY-MM-DD, in ASCII digits."""
    year, month, day = text[:4], text[5:7], text[8:]
    if len(text) != 10 or text[4] + text[7] != "--" or not _DIGITS.issuperset(year + month + day):
        return False
    if not 1 <= int(month) <= 12 or not 1 <= int(day) <= _LONGEST_MONTHS[int(month) - 1]:
        return False
    return month + day != "0229" or _is_leap(int(year))


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
