"""The JSON document of a managed cluster."""

from wisp_local.cloud.arm.managed_cluster import merged


def test_merge_patch_follows_rfc_7396() -> None:
    """Null takes away, objects are merged, everything else is replaced."""
    assert merged({"a": 1, "b": {"c": 1, "d": 2}, "e": [1]}, {"a": None, "b": {"c": 3}, "e": [2]}) == {
        "b": {"c": 3, "d": 2},
        "e": [2],
    }
