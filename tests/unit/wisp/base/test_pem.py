"""Certificates are found in PEM text, whatever else is in it."""

import pytest

from wisp.base.pem import only_certificates, pem_blocks

A = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"
B = "-----BEGIN CERTIFICATE-----\nBBBB\n-----END CERTIFICATE-----"
KEY = "-----BEGIN PRIVATE KEY-----\nKKKK\n-----END PRIVATE KEY-----"


@pytest.mark.parametrize(
    "text, certificates",
    [
        pytest.param("", [], id="nothing"),
        pytest.param(f"{A}\n{B}\n", [A, B], id="two"),
        pytest.param(A + B, [A, B], id="no line between"),
        pytest.param(f"# Ä\nsubject=x\n{A}\n\nissuer=y\n{B}", [A, B], id="comments"),
        pytest.param(f"{KEY}\n{A}\n{KEY}\n{B}\n{KEY}\n", [A, B], id="keys"),
        pytest.param(f"{A[:30]}\n{B}", [B], id="begins twice"),
        pytest.param(f"{A}\n{B[:30]}", [A], id="does not end"),
        pytest.param("-----END CERTIFICATE-----", [], id="does not begin"),
    ],
)
def test_certificates_are_found(text: str, certificates: list[str]) -> None:
    assert pem_blocks(text.encode()) == [certificate.encode() for certificate in certificates]
    assert only_certificates(text) == "".join(f"{certificate}\n" for certificate in certificates)


def test_text_that_is_not_unicode_holds_no_more_than_its_certificates() -> None:
    """Variables of the environment may hold any bytes."""
    assert only_certificates(f"\udcff{A}") == f"{A}\n"
