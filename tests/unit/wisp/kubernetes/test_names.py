"""Names that API servers accept."""

import pytest

from wisp.kubernetes.names import is_namespace, is_service_account


@pytest.mark.parametrize(
    "text, namespace, account",
    [
        ("team-a", True, True),
        ("0", True, True),
        ("a.b", False, True),
        ("n" * 63, True, True),
        ("n" * 64, False, True),
        ("n" * 253, False, True),
        ("n" * 254, False, False),
        ("", False, False),
        ("Team", False, False),
        ("-a", False, False),
        ("a-", False, False),
        ("a..b", False, False),
        ("a/b", False, False),
        ("a b", False, False),
        ("a\n", False, False),
        ("é", False, False),
    ],
    ids=lambda value: ascii(value[:8]) if isinstance(value, str) else "",
)
def test_names_are_checked_as_api_servers_check_them(text: str, *, namespace: bool, account: bool) -> None:
    assert (is_namespace(text), is_service_account(text)) == (namespace, account)
