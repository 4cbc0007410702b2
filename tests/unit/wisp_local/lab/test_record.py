"""A lab's record: what options change, how it is stored, and what is wrong with a lab."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from wisp.base.errors import SettingError, WispError
from wisp_local.lab.record import (
    NO_CLUSTER,
    AttachedCluster,
    CloudProcess,
    ListenOptions,
    Observation,
    Record,
    Settings,
    UpOptions,
    apply_options,
    decode_record,
    encode_record,
    listen_options,
    problems,
    require_same_listener,
)

OWN = AttachedCluster(own=True)
ANY_ADDRESS = "0.0.0.0"  # noqa: S104 -- recognised, not bound
PLAIN = ListenOptions(("127.0.0.1",), 8443, ())


def test_settings_stay_unless_an_option_changes_them() -> None:
    """Port, hosts, names, images, and the attached cluster."""
    cluster = AttachedCluster("/kube")
    before = Settings(("10.0.0.1",), 9000, ("name",), cluster, "image", "/image.tar", ("/more.tar",), gateway=True)
    assert apply_options(before, UpOptions()) == before
    assert apply_options(before, UpOptions(cluster=NO_CLUSTER)) == replace(before, cluster=NO_CLUSTER)
    options = UpOptions(("::1",), 0, ("b",), OWN, "c", "/c.tar", ("/d.tar",), gateway=False)
    assert apply_options(before, options) == Settings(("::1",), 0, ("b",), OWN, "c", "/c.tar", ("/d.tar",))


def test_gateway_needs_a_cluster() -> None:
    """The setting stays while the cluster is detached."""
    with pytest.raises(SettingError, match=r"the gateway needs a cluster: add --cluster or --kubeconfig FILE"):
        apply_options(Settings(), UpOptions(gateway=True))
    attached = apply_options(Settings(), UpOptions(cluster=OWN, gateway=True))
    detached = apply_options(attached, UpOptions(cluster=NO_CLUSTER))
    assert (attached.has_gateway, detached.has_gateway) == (True, False)
    assert apply_options(detached, UpOptions(cluster=OWN)).has_gateway


@pytest.mark.parametrize(
    "settings, node_host, expected",
    [
        pytest.param(Settings(), None, PLAIN, id="plain"),
        pytest.param(Settings(("127.0.0.1",)), None, PLAIN, id="loopback-given"),
        pytest.param(
            Settings(("172.18.0.1",)),
            None,
            ListenOptions(("127.0.0.1", "172.18.0.1"), 8443, ("172.18.0.1",)),
            id="host",
        ),
        pytest.param(
            Settings(("172.18.0.1",), advertise=("lab.test",)),
            None,
            ListenOptions(("127.0.0.1", "172.18.0.1"), 8443, ("lab.test",)),
            id="name",
        ),
        pytest.param(Settings((ANY_ADDRESS,)), None, ListenOptions((ANY_ADDRESS,), 8443, ()), id="any-address"),
        pytest.param(
            Settings((ANY_ADDRESS,), advertise=("lab.test",)),
            None,
            ListenOptions((ANY_ADDRESS,), 8443, ("lab.test",)),
            id="both",
        ),
        pytest.param(
            Settings(cluster=OWN),
            "10.201.0.1",
            ListenOptions(("127.0.0.1", "10.201.0.1"), 8443, ("10.201.0.1",)),
            id="own",
        ),
        pytest.param(
            Settings(("10.201.0.1",), advertise=("n",), cluster=OWN),
            "10.201.0.1",
            ListenOptions(("127.0.0.1", "10.201.0.1"), 8443, ("10.201.0.1", "n")),
            id="own-and-more",
        ),
    ],
)
def test_cloud_listens_on_loopback_and_advertises_other_addresses(
    settings: Settings, node_host: str | None, expected: ListenOptions
) -> None:
    """Pods and other machines could not use loopback."""
    assert listen_options(settings, node_host) == expected


def test_running_cloud_cannot_listen_elsewhere() -> None:
    """Port 0 is any port. Another port or address is an error."""
    require_same_listener(PLAIN, PLAIN)
    require_same_listener(PLAIN, ListenOptions(("127.0.0.1",), 0, ()))
    for other in (ListenOptions(("127.0.0.1",), 1, ()), ListenOptions(("127.0.0.1", "::1"), 8443, ())):
        with pytest.raises(WispError, match=r"listens on port 8443 of 127.0.0.1: `wisp lab down` first"):
            require_same_listener(PLAIN, other)


_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_SOME = st.lists(_TEXTS, max_size=2).map(tuple)
_CLUSTER = st.builds(AttachedCluster, st.none() | _TEXTS, st.booleans())
_NAME = st.none() | _TEXTS
_SETTINGS = st.builds(Settings, _SOME, st.integers(0, 65535), _SOME, _CLUSTER, _NAME, _NAME, _SOME, st.booleans())
_CLOUD = st.builds(
    CloudProcess,
    st.integers(1),
    _TEXTS,
    st.floats(allow_nan=False, allow_infinity=False),
    st.builds(ListenOptions, _SOME, st.integers(0, 65535), _SOME),
    _TEXTS,
    st.none() | _TEXTS,
)


@given(st.builds(Record, _SETTINGS, st.none() | _CLOUD))
def test_record_survives_encoding(record: Record) -> None:
    """With all its fields."""
    assert decode_record(encode_record(record), "lab.json") == record


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"version": 1}', '{"version": 1, "wanted": {"colour": 1}, "cloud": null}', "null"],
    ids=["empty", "list", "object", "nothing", "unknown", "null"],
)
def test_invalid_record_is_one_error(text: str) -> None:
    """It names the file. The hint says what to do."""
    with pytest.raises(SettingError, match=r"lab\.json was not written by `wisp lab`: name another folder"):
        decode_record(text, "lab.json")


def test_record_of_another_version_is_reported_as_such() -> None:
    """It is not an invalid record."""
    later = json.dumps({**json.loads(encode_record(Record(Settings(), None))), "version": 2})
    with pytest.raises(SettingError, match=r"written by another version of wisp \(2\)"):
        decode_record(later, "lab.json")


CLOUD = CloudProcess(7, "then", 0, ListenOptions(("127.0.0.1",), 8443, ()), "https://127.0.0.1:8443")
UP = Record(Settings(), CLOUD)


@pytest.mark.parametrize(
    "observation, words",
    [
        pytest.param(Observation(None), ["no lab here: `wisp lab up`"], id="none"),
        pytest.param(Observation(Record(Settings(), None)), ["is down: `wisp lab up`"], id="down"),
        pytest.param(Observation(UP), ["(process 7) has ended by itself: `wisp lab up`"], id="ended"),
        pytest.param(
            Observation(UP, is_running=True), ["(process 7) runs but does not answer: `wisp lab down`"], id="no answer"
        ),
        pytest.param(Observation(UP, is_running=True, answers=True), [], id="no problem"),
        pytest.param(
            Observation(UP, is_running=True, answers=True, cluster_problem="it is gone: do"),
            ["it is gone: do"],
            id="cluster",
        ),
        pytest.param(
            Observation(UP, is_running=True, cluster_problem="it is gone: do"),
            ["does not answer", "it is gone"],
            id="both",
        ),
    ],
)
def test_problems_are_lines_that_say_what_to_do(observation: Observation, words: list[str]) -> None:
    """There is none if everything runs that should."""
    found = problems(observation)
    assert len(found) == len(words)
    for line, word in zip(found, words, strict=True):
        assert word in line


def test_kinds_of_clusters_are_those_of_the_status() -> None:
    """`none`, `kubeconfig` and `cluster`."""
    clusters = (NO_CLUSTER, AttachedCluster("/k"), AttachedCluster(own=True))
    assert [cluster.kind for cluster in clusters] == ["none", "kubeconfig", "cluster"]


def test_names_in_the_file_are_stable() -> None:
    """Labs outlive an update of wisp: names that change in the program stay the same in the file."""
    document = {
        "version": 1,
        "wanted": {
            "hosts": ["10.0.0.1"],
            "port": 9000,
            "advertise": [],
            "behind": {"kubeconfig": "/kube", "own": False},
            "image": None,
            "image_archive": None,
            "load": ["/more.tar"],
            "gateway": True,
        },
        "cloud": None,
    }
    settings = Settings(("10.0.0.1",), 9000, cluster=AttachedCluster("/kube"), load=("/more.tar",), gateway=True)
    assert decode_record(json.dumps(document), "lab.json") == Record(settings, None)
    assert json.loads(encode_record(Record(settings, None))) == document


def test_record_without_a_gateway_is_read() -> None:
    """Labs that an earlier wisp started have none."""
    document = '{"version": 1, "wanted": {"port": 9000}, "cloud": null}'
    assert decode_record(document, "lab.json") == Record(Settings(port=9000), None)
