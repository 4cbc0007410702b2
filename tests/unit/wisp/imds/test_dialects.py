"""Dialects of the token endpoint: their API versions, and what authorises a request in each."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fakes import ARM, CLIENT_ID, token_request, token_target
from wisp.base.secret import Secret
from wisp.http.messages import Request
from wisp.imds.answer import Refusal
from wisp.imds.dialects import APP_SERVICE, METADATA_SERVICE, OLD_APP_SERVICE, is_date
from wisp.imds.request import TOKEN_PATH, Selector, TokenRequest, decide

HEADER = Secret("0f3b-identity-header")
SHOWN = {"x_identity_header": HEADER.reveal()}


def ask(target: str | None = None, **headers: str) -> Request:
    """Return a GET of a target."""
    return token_request(target, method=b"GET", **headers)


def app_service(version: str = "2019-08-01", **parameters: str) -> str:
    """Return the target of a token request in App Service's dialect."""
    return token_target(**{"api-version": version, **parameters})


def cloud_shell(body: bytes, **headers: str) -> Request:
    """Return Cloud Shell's request: a form in the body, no api-version."""
    return token_request(TOKEN_PATH, method=b"POST", **headers)._replace(body=body)


@pytest.mark.parametrize(
    "request_, expected",
    [
        pytest.param(
            ask(app_service(), metadata="", **SHOWN),
            TokenRequest(ARM, None),
            id="App Service, as Go sends it",
        ),
        pytest.param(ask(app_service(), **SHOWN), TokenRequest(ARM, None), id="with Metadata, as Python sends it"),
        pytest.param(
            ask(app_service(client_id=CLIENT_ID), metadata="", **SHOWN),
            TokenRequest(ARM, Selector("client_id", CLIENT_ID)),
            id="client_id",
        ),
        pytest.param(
            ask(app_service(principal_id=CLIENT_ID), metadata="", **SHOWN),
            TokenRequest(ARM, Selector("object_id", CLIENT_ID)),
            id="principal_id",
        ),
        pytest.param(
            ask(app_service(mi_res_id="/subscriptions/s"), metadata="", **SHOWN),
            TokenRequest(ARM, Selector("resource_id", "/subscriptions/s")),
            id="mi_res_id",
        ),
        pytest.param(
            ask(app_service("2017-09-01", clientid=CLIENT_ID), metadata="", secret=HEADER.reveal()),
            TokenRequest(ARM, Selector("client_id", CLIENT_ID)),
            id="of 2017",
        ),
        pytest.param(
            ask(app_service("2017-09-01", clientid=""), metadata="", secret=HEADER.reveal()),
            TokenRequest(ARM, None),
            id="of 2017 with an empty clientid, as adal sends it",
        ),
        pytest.param(ask(), TokenRequest(ARM, None), id="the metadata service's own goes on"),
        pytest.param(ask(app_service()), TokenRequest(ARM, None), id="the metadata service's own of 2019, as Rust"),
    ],
)
def test_app_service_request_with_the_identity_header_is_accepted(request_: Request, expected: TokenRequest) -> None:
    """In both versions of the dialect."""
    assert decide(request_, HEADER) == expected


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(ask(app_service(), metadata=""), id="no header"),
        pytest.param(ask(app_service(), metadata="", x_identity_header="wrong"), id="a wrong header"),
        pytest.param(ask(app_service(), x_identity_header="wrong"), id="a wrong header and Metadata"),
        pytest.param(ask(app_service(), metadata="", x_identity_header="\xff"), id="a header not in ASCII"),
        pytest.param(ask(app_service("2017-09-01"), metadata=""), id="no secret"),
        pytest.param(ask(app_service("2017-09-01"), metadata="", secret="0f3b"), id="a part of the secret"),
    ],
)
def test_app_service_request_without_the_identity_header_gets_401(request_: Request) -> None:
    """The answer does not reveal the header's value."""
    refuse = decide(request_, HEADER)
    assert isinstance(refuse, Refusal)
    assert refuse.status == 401
    assert HEADER.reveal() not in refuse.description


def with_identity_header(request: Request, name: bytes, value: bytes) -> Request:
    """Return the request with a header, whose value may be empty."""
    return request._replace(headers=(*request.headers, (name, value)))


@pytest.mark.parametrize("value", [b"true", b"x", b"\xff", b""], ids=["true", "another", "not ASCII", "empty"])
@pytest.mark.parametrize(
    "version, name, selector",
    [
        ("2019-08-01", b"x-identity-header", "client_id"),
        ("2017-09-01", b"secret", "clientid"),
        ("2019-07-01-preview", b"secret", "client_id"),
    ],
    ids=["2019", "2017", "Service Fabric"],
)
def test_any_header_value_is_accepted_without_a_configured_one(
    version: str, name: bytes, selector: str, value: bytes
) -> None:
    """Microsoft's migration page sets the application's IDENTITY_HEADER to true, and none for the sidecar."""
    target = app_service(version, **{selector: CLIENT_ID})
    for request in (ask(target, metadata=""), ask(target)):
        decision = decide(with_identity_header(request, name, value), None)
        assert decision == TokenRequest(ARM, Selector("client_id", CLIENT_ID))


@pytest.mark.parametrize("value", [b"true", b"", b"0f3b-identity-headeR", b"0f3b-identity-header "])
@pytest.mark.parametrize("required", [False, True])
def test_only_the_configured_header_value_is_accepted(value: bytes, *, required: bool) -> None:
    for version, name in (("2019-08-01", b"x-identity-header"), ("2017-09-01", b"secret")):
        request = with_identity_header(ask(app_service(version), metadata=""), name, value)
        refuse = decide(request, HEADER, header_required=required)
        assert isinstance(refuse, Refusal)
        assert refuse.status == 401


def test_empty_one_of_two_header_names_is_ignored() -> None:
    """A client may send both names and leave one empty."""
    empty = with_identity_header(ask(app_service("2017-09-01"), metadata=""), b"x-identity-header", b"")
    assert decide(with_identity_header(empty, b"secret", HEADER.reveal().encode()), HEADER) == TokenRequest(ARM, None)


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(ask(app_service(), metadata=""), id="App Service without the header"),
        pytest.param(ask(app_service("2017-09-01"), metadata=""), id="of 2017"),
        pytest.param(ask(metadata=""), id="a probe"),
        pytest.param(
            with_identity_header(cloud_shell(b"resource=x", metadata=""), b"x-identity-header", b"x"), id="Cloud Shell"
        ),
    ],
)
def test_header_that_no_web_page_can_send_is_required(request_: Request) -> None:
    """Without IDENTITY_HEADER too, no request is accepted that a browser could be made to send."""
    refuse = decide(request_, None)
    assert isinstance(refuse, Refusal)
    assert (refuse.status, refuse.error) == (400, "bad_request_102")


def test_forwarded_request_is_rejected_with_any_credentials() -> None:
    """X-Forwarded-For means that a reverse proxy exposes the sidecar."""
    refuse = decide(ask(app_service(), metadata="", x_identity_header="true", x_forwarded_for="::1"), None)
    assert isinstance(refuse, Refusal)
    assert "X-Forwarded-For" in refuse.description


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(token_request(), id="the metadata service's own"),
        pytest.param(token_request(x_identity_header="wrong"), id="with a wrong header"),
        pytest.param(cloud_shell(b"resource=https://management.azure.com/"), id="Cloud Shell"),
        pytest.param(token_request(app_service(), metadata=""), id="App Service"),
    ],
)
def test_required_identity_header_applies_to_every_dialect(request_: Request) -> None:
    """Without it no dialect is served, with it all are."""
    refuse = decide(request_, HEADER, header_required=True)
    assert isinstance(refuse, Refusal)
    assert refuse.status == 401
    headers = tuple(header for header in request_.headers if header[0] != b"x-identity-header")
    with_header = request_._replace(headers=(*headers, (b"x-identity-header", HEADER.reveal().encode())))
    assert isinstance(decide(with_header, HEADER, header_required=True), TokenRequest)


def test_identity_header_with_metadata_header_is_ignored_without_a_configured_one() -> None:
    """The Rust SDK sends X-IDENTITY-HEADER to the metadata service too."""
    assert decide(ask(x_identity_header="whatever"), None) == TokenRequest(ARM, None)


def test_unknown_app_service_version_is_rejected_with_the_known_one() -> None:
    refuse = decide(ask(app_service("2018-02-01"), metadata="", **SHOWN), HEADER)
    assert isinstance(refuse, Refusal)
    assert refuse.status == 400
    assert refuse.description.endswith("Versions served: 2019-08-01 and later dates (YYYY-MM-DD)")


@pytest.mark.parametrize("metadata", ["", "true"], ids=["alone", "with Metadata"])
@pytest.mark.parametrize("header", [HEADER, None], ids=["own header", "no header"])
def test_later_app_service_version_is_served_as_the_current_one(metadata: str, header: Secret | None) -> None:
    """SDKs move to a new version before pods do."""
    target = app_service("2022-03-01", principal_id=CLIENT_ID)
    expected = TokenRequest(ARM, Selector("object_id", CLIENT_ID))
    assert decide(ask(target, metadata=metadata, **SHOWN), header) == expected


def test_app_service_version_decides_not_the_header_name() -> None:
    request = ask(app_service("2019-08-01", client_id=CLIENT_ID), metadata="", secret=HEADER.reveal())
    assert decide(request, HEADER) == TokenRequest(ARM, Selector("client_id", CLIENT_ID))


@pytest.mark.parametrize(
    "request_, expected",
    [
        pytest.param(cloud_shell(b"resource=https%3A%2F%2Fmanagement.azure.com%2F"), None, id="the resource only"),
        pytest.param(
            cloud_shell(
                b"resource=https://management.azure.com/",
                content_type="application/x-www-form-urlencoded;charset=utf-8",
            ),
            None,
            id="with a content type",
        ),
        pytest.param(
            cloud_shell(b"resource=https://management.azure.com/&client_id=" + CLIENT_ID.encode()),
            Selector("client_id", CLIENT_ID),
            id="a selector",
        ),
    ],
)
def test_cloud_shell_request_is_accepted(request_: Request, expected: Selector | None) -> None:
    """It is a POST with a form."""
    assert decide(request_, HEADER) == TokenRequest(ARM, expected)


@pytest.mark.parametrize(
    "request_, status, reason",
    [
        pytest.param(cloud_shell(b"resource=x", metadata=""), 400, "metadata header", id="no Metadata header"),
        pytest.param(cloud_shell(b""), 400, "audience", id="an empty body"),
        pytest.param(cloud_shell(b'{"resource":"x"}', content_type="application/json"), 400, "form", id="JSON"),
        pytest.param(cloud_shell(b"resource=%ff"), 400, "UTF-8", id="not UTF-8"),
        pytest.param(cloud_shell(b"resource=x", x_forwarded_for="::1"), 400, "X-Forwarded-For", id="forwarded"),
    ],
)
def test_bad_cloud_shell_request_is_rejected_with_its_reason(request_: Request, status: int, reason: str) -> None:
    refuse = decide(request_, None)
    assert isinstance(refuse, Refusal)
    assert refuse.status == status
    assert reason in refuse.description


def test_all_published_versions_are_known() -> None:
    """Thirty versions have a token endpoint; they are dates, in order."""
    assert len(METADATA_SERVICE.versions) == 30
    assert METADATA_SERVICE.versions[-1] == "2025-04-07"
    assert sorted(set(METADATA_SERVICE.versions)) == list(METADATA_SERVICE.versions)
    assert all(map(is_date, METADATA_SERVICE.versions))


@given(st.dates())
def test_every_calendar_date_after_the_newest_version_is_served(day: date) -> None:
    text = f"{day.year:04}-{day.month:02}-{day.day:02}"
    assert is_date(text)
    assert METADATA_SERVICE.serves(text) is (text in METADATA_SERVICE.versions or text > "2025-04-07")
    assert APP_SERVICE.serves(text) is (text >= "2019-08-01")
    assert OLD_APP_SERVICE.serves(text) is (text == "2017-09-01")


@given(st.integers(0, 9999), st.integers(0, 99), st.integers(0, 99))
def test_date_that_is_not_in_the_calendar_is_not_served(year: int, month: int, day: int) -> None:
    text = f"{year:04}-{month:02}-{day:02}"
    try:
        expected = (date(2000 + year % 400, month, 1) + timedelta(day - 1)).month == month and day > 0
    except ValueError:
        expected = False
    assert is_date(text) is expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026",
        "20260101",
        "2026-1-1",
        "2026/01/01",
        "2026-01-01 ",
        " 2026-01-01",
        "2026-01-1 ",
        "2026-01-+1",
        "2026-01-01-preview",
        "2026-W01-1",
        "2026-01-\u0660\u0661",
        "\uff12026-01-01",
        "2026-01-0\u00b9",
        "2026-02-29",
        "2100-02-29",
        "12026-01-01",
        "-026-01-01",
    ],
)
def test_other_forms_of_a_date_are_not_served(text: str) -> None:
    """Only ASCII digits in the documented form are accepted."""
    assert not is_date(text)
    assert not METADATA_SERVICE.serves(text)


def test_a_missing_version_is_not_served() -> None:
    assert not METADATA_SERVICE.serves(None)
