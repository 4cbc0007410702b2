"""The MutatingWebhookConfiguration as a document: what is read from it, and the patch that changes its CA bundles."""

import base64

from wisp.certificates.store import Published
from wisp.webhook.publication import bundle_patch, bundles_in


def data(text: str) -> str:
    """Return base64."""
    return base64.b64encode(text.encode()).decode()


def test_patch_changes_only_bundles_that_differ() -> None:
    """It fails for any other version of the configuration, and for webhooks in another order."""
    document = {
        "metadata": {"resourceVersion": "5"},
        "webhooks": [
            {"name": "a", "clientConfig": {"caBundle": data("new")}},
            {"name": "b", "clientConfig": {"caBundle": data("old")}},
            {"name": "c", "clientConfig": {}},
        ],
    }
    published = bundles_in(document)
    assert published == Published("5", (("a", b"new"), ("b", b"old"), ("c", b"")))
    assert bundle_patch(published, b"new") == [
        {"op": "test", "path": "/metadata/resourceVersion", "value": "5"},
        {"op": "test", "path": "/webhooks/1/name", "value": "b"},
        {"op": "add", "path": "/webhooks/1/clientConfig/caBundle", "value": data("new")},
        {"op": "test", "path": "/webhooks/2/name", "value": "c"},
        {"op": "add", "path": "/webhooks/2/clientConfig/caBundle", "value": data("new")},
    ]
