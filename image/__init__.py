"""Builds the container image: `make image`. `assemble` and what it imports run inside the build, on its own Python."""
