"""A pytest plugin: managed identity in the tests of whoever asks for it, without Azure. See docs/how-to/testing.md.

    pytest_plugins = ["wisp_local.testing"]

gives the fixtures `wisp_cloud`, `wisp_identity`, `wisp_imds` and `wisp_environment`. What they give is made without
pytest as well: `running_cloud` and `serving_imds` are context managers.

    cloud, identity   a local cloud in a process of its own; what is made in it, and what can be wrong with it
    imds              the sidecar, beside the test
    parts             processes that end with the test run
    fixtures          the only module that knows pytest

(PYTEST_DONT_REWRITE: there are no assertions here, and it may be imported before it is named as a plugin.)
"""

from wisp_local.testing.cloud import Cloud, Cluster, running_cloud
from wisp_local.testing.fixtures import wisp_cloud, wisp_environment, wisp_identity, wisp_imds, wisp_seed
from wisp_local.testing.identity import Identity
from wisp_local.testing.imds import Imds, serving_imds

__all__ = [
    "Cloud",
    "Cluster",
    "Identity",
    "Imds",
    "running_cloud",
    "serving_imds",
    "wisp_cloud",
    "wisp_environment",
    "wisp_identity",
    "wisp_imds",
    "wisp_seed",
]
