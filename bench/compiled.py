"""Byte code, written ahead as installers do: where it may not be written later, start-up would time the compiler."""

import compileall

import httptools

import wisp


def compile_sidecar() -> None:
    """Compile what the sidecar loads."""
    for package in (wisp, httptools):
        compileall.compile_dir(package.__path__[0], quiet=1)
