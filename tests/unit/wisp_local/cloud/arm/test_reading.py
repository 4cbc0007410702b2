"""The pages of lists."""

from urllib.parse import parse_qsl, urlsplit

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wisp_local.cloud.arm.client import IDENTITIES, ArmClient, error_of
from wisp_local.cloud.arm.reading import PAGE, page


def test_top_and_next_link_page_through_a_list(arm: ArmClient) -> None:
    """`$top` limits a page, and nextLink leads to the rest, in the order of the ids."""
    for number in range(5):
        arm.ask("PUT", f"{arm.group}/{IDENTITIES}/app{number}", {"location": "eastus"})
    found, target = [], f"{arm.group}/{IDENTITIES}?$top=2"
    while target:
        document = arm.get(target)
        assert len(document["value"]) <= 2
        found += [each["name"] for each in document["value"]]
        target = document.get("nextLink", "")
    assert found == ["app0", "app1", "app2", "app3", "app4", "wi-demo-identity"]
    assert error_of(arm.ask("GET", f"{arm.subscription}/{IDENTITIES}?$top=0")) == (400, "InvalidTopQueryParameter")
    assert error_of(arm.ask("GET", f"{arm.group}/{IDENTITIES}?$skiptoken=%C3%A9")) == (400, "InvalidSkipToken")


@given(st.sets(st.text(min_size=1, max_size=5), max_size=12), st.integers(1, 5))
def test_following_next_link_returns_every_item_once(ids: set[str], top: int) -> None:
    """This holds for any ids."""
    items = [{"id": each} for each in {each.lower(): each for each in ids}.values()]
    query, seen = {"$top": str(top)}, []
    for _ in range(len(items) + 1):
        document = page(items, query, "https://x/list")
        values = document["value"]
        assert isinstance(values, list)
        seen += [each["id"] for each in values]
        if "nextLink" not in document:
            break
        query = dict(parse_qsl(urlsplit(str(document["nextLink"])).query))
    assert sorted(seen) == sorted(str(each["id"]) for each in items)


def test_page_has_at_most_a_thousand_items() -> None:
    """Without $top, and with a larger one."""
    items = [{"id": f"{number:05}"} for number in range(PAGE + 1)]
    for query in ({}, {"$top": "99999"}):
        document = page(items, query, "https://x/list")
        values = document["value"]
        assert isinstance(values, list)
        assert len(values) == PAGE
        assert "nextLink" in document
