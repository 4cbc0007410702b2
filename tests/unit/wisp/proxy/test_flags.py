"""The command line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wisp.base.errors import SettingError
from wisp.imds.passthrough import SEGMENTS
from wisp.proxy.flags import USAGE, Flags, parse_flags


@pytest.mark.parametrize(
    "arguments, flags",
    [
        ([], Flags()),
        (["--proxy-port", "8001"], Flags(port=8001)),
        (["--proxy-port=65535"], Flags(port=65535)),
        (["--log-level", "DEBUG"], Flags(log_level="debug")),
        (["--log-level=trace"], Flags(log_level="debug")),
        (["--log-level", "all"], Flags(log_level="debug")),
        (["--log-level="], Flags(log_level="warning")),
        (["--refusal-hold", "0"], Flags(refusal_hold=0.0)),
        (["--authority-ca=/a=b"], Flags(authority_ca="/a=b")),
        (["--passthrough", "none"], Flags(passthrough=())),
        (["--passthrough=versions, Instance,versions"], Flags(passthrough=("instance", "versions"))),
        (["--metadata-endpoint", "10.0.0.1"], Flags(metadata_endpoint=("10.0.0.1", 80))),
        (["--metadata-endpoint=10.0.0.1:8080"], Flags(metadata_endpoint=("10.0.0.1", 8080))),
        (["--probe", "--proxy-port", "8001"], Flags(port=8001, probe=True)),
        (["--version"], Flags(version=True)),
        (["--help"], Flags(help=True)),
        (["-h"], Flags(help=True)),
        (["--proxy-port", "1", "--proxy-port", "2"], Flags(port=2)),
    ],
    ids=lambda value: " ".join(value) if type(value) is list else "",
)
def test_flags_are_parsed_and_the_last_of_several_counts(arguments: list[str], flags: Flags) -> None:
    """Values follow a space or an equals sign."""
    assert parse_flags(arguments) == flags


@pytest.mark.parametrize(
    "arguments, reason",
    [
        (["--proxy-port"], "--proxy-port '' is not a port"),
        (["--proxy-port", "0"], "is not a port"),
        (["--proxy-port", "65536"], "is not a port"),
        (["--proxy-port", "99999999999999999999"], "is not a port"),
        (["--proxy-port", "-1"], "is not a port"),
        (["--proxy-port", "٣"], "is not a port"),
        (["--proxy-port", "http"], "is not a port"),
        (["--log-level", "loud"], "--log-level 'loud' is unknown"),
        (["--log-level"], "--log-level '' is unknown"),
        (["--authority-ca"], "--authority-ca names no file"),
        (["--authority-ca="], "--authority-ca names no file"),
        (["--passthrough"], "--passthrough names nothing"),
        (["--passthrough=instance,"], "--passthrough names nothing"),
        (["--passthrough=identity"], "--passthrough: 'identity' cannot be passed on"),
        (["--passthrough=none,instance"], "--passthrough: 'none' cannot be passed on"),
        *(
            ([f"--metadata-endpoint={value}"], f"--metadata-endpoint {value!r} is not IP or IP:PORT")
            for value in (
                "",
                "10.0.0",
                "10.0.0.256",
                "010.0.0.1",
                "node",
                "::1",
                "10.0.0.1:",
                "10.0.0.1:0",
                "1.1.1.1\0",
            )
        ),
        *(
            ([f"--refusal-hold={value}"], f"--refusal-hold {value!r} is not a time")
            for value in ("", "-1", "1.5", "301", "9999999", "٣")
        ),
        (["--probe=1"], "unknown flag '--probe=1'"),
        (["serve\n"], r"unknown flag 'serve\n'"),
        (["--"], "unknown flag '--'"),
    ],
    ids=lambda value: " ".join(value) if type(value) is list else "",
)
def test_bad_flag_is_reported_by_name(arguments: list[str], reason: str) -> None:
    with pytest.raises(SettingError, match="--") as error:
        parse_flags(arguments)
    assert reason in error.value.problem
    assert error.value.hint


@given(st.lists(st.text(max_size=12) | st.sampled_from(["--proxy-port", "--probe", "8000", "--log-level", "info"])))
def test_any_arguments_give_settings_or_a_setting_error(arguments: list[str]) -> None:
    try:
        flags = parse_flags(arguments)
    except SettingError:
        return
    assert 1 <= flags.port <= 65535


def test_usage_lists_every_flag_with_its_default() -> None:
    for name in ("--proxy-port", "--log-level", "--authority-ca", "--passthrough", "--probe", "--version", "--help"):
        assert f"\n  {name}" in USAGE
    assert f"({Flags().port})" in USAGE
    assert f"({Flags().log_level})" in USAGE
    assert "({}:{})".format(*Flags().metadata_endpoint) in USAGE
    assert f"({','.join(SEGMENTS)})" in USAGE
    assert Flags().passthrough == SEGMENTS
    assert "\n  --metadata-endpoint IP[:PORT]\n" in USAGE
