"""The table of refusals; its texts are tested over HTTP, in test_exchange."""

import re
from string import Formatter

from tests.support.paths import ROOT
from wisp_local.cloud.entra.refusals import LONGEST_ASSERTION, _table, refuse

SOURCES = "".join(path.read_text() for path in (ROOT / "src" / "wisp_local" / "cloud" / "entra").glob("*.py"))


def test_code_and_table_name_the_same_refusals() -> None:
    used = set(re.findall(r'(?:refuse|_RefusedError)\(\s*"(\w+)"', SOURCES))
    used |= {name for pair in re.findall(r'refuse\("(\w+)" if \w+ else "(\w+)"', SOURCES) for name in pair}
    assert used == set(_table())


def test_value_in_braces_is_not_a_field() -> None:
    """Values come from the client."""
    assert refuse("tenant_malformed", tenant="{0.__class__}").text.startswith("Specified tenant identifier '{0.__cl")


def test_longest_assertion_is_in_its_text() -> None:
    hours = LONGEST_ASSERTION // 3600
    assert f" {hours // 24}.{hours % 24:02}:00:00." in refuse("assertion_too_long_lived").text


def test_status_is_401_for_clients_and_400_for_requests() -> None:
    """As RFC 6749 §5.2 has it; two rows have a status of their own."""
    statuses = {name: row.status for name, row in _table().items() if row.status not in (400, 401)}
    assert statuses == {"request_too_large": 413, "method_not_allowed": 405}
    assert all((row.status == 401) == (row.error == "invalid_client") for row in _table().values())


def test_fields_of_texts_are_names() -> None:
    for row in _table().values():
        assert all(name is None or name.isidentifier() for _, name, _, _ in Formatter().parse(row.text))
