"""Files in memory for a sidecar on this machine."""

import os

import pytest

from wisp.base.secret import Secret
from wisp_local.sandbox.sidecar import memory_file, rewrite


@pytest.mark.parametrize("content", ["longer than before", "short"])
def test_content_of_a_memory_file_is_replaced(content: str) -> None:
    with memory_file("assertion", Secret("as before")) as descriptor:
        rewrite(descriptor, Secret(content))
        assert os.pread(descriptor, 100, 0).decode() == content
