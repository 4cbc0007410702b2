"""A pytest plugin: managed identity in your tests, without Azure. See docs/how-to/testing.md.

    pytest_plugins = ["wisp_local.testing"]

provides the fixtures `wisp_cloud`, `wisp_identity`, `wisp_imds` and `wisp_environment`. Without pytest, use the context
managers `running_cloud` and `serving_imds`.

(PYTEST_DONT_REWRITE: there are no assertions here, and it may be imported before it is named as a plugin.)
"""

from wisp_local.testing.fixtures import wisp_cloud, wisp_environment, wisp_identity, wisp_imds, wisp_seed
from wisp_local.testing.services import Cloud, Cluster, Identity, Imds, running_cloud, serving_imds

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
