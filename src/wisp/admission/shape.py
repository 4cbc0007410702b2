"""Decides whether a decoded document is put together as a pod is, part by part, as it is read. Knows no part's meaning.

Objects are never copied, so that fields that no one here has heard of survive. Errors say where by JSON pointers.
"""

from typing import Any, TypeAlias

from wisp.errors import WispError

Object: TypeAlias = dict[str, Any]


class PodError(WispError):
    """A pod cannot be admitted as it is; the text is for whoever made it."""


def object_in(parent: Object, key: str, path: str = "") -> Object:
    """Return the object under `key` of `parent`, which is at `path`; an empty one for none. Raise PodError."""
    value = parent.get(key)
    if value is None:
        return {}
    if type(value) is not dict:
        raise PodError(f"{path}/{key} is not an object", remedy="correct the manifest")
    return value


def object_or_empty(parent: object, key: str) -> Object:
    """Return the object under `key` of `parent`; an empty one if there is none, whatever both are."""
    value = parent.get(key) if type(parent) is dict else None
    return value if type(value) is dict else {}


def objects_in(parent: Object, key: str, path: str) -> list[Object]:
    """Return the list of objects under `key` of `parent`, which is at `path`; an empty one for none. Raise PodError."""
    value = parent.get(key)
    if value is None:
        return []
    if type(value) is not list:
        raise PodError(f"{path}/{key} is not a list", remedy="correct the manifest")
    for each in value:
        if type(each) is not dict:
            raise PodError(f"{path}/{key} holds what is not an object", remedy="correct the manifest")
    return value


def text_in(parent: Object, key: str, path: str) -> str:
    """Return the text under `key` of `parent`, which is at `path`; an empty one for none. Raise PodError."""
    value = parent.get(key)
    if value is None:
        return ""
    if type(value) is not str:
        raise PodError(f"{path}/{key} is not a string", remedy="correct the manifest; YAML may want quotes there")
    return value


def texts_in(parent: Object, key: str, path: str) -> dict[str, str]:
    """Return the map of text to text under `key` of `parent`, which is at `path`. Raise PodError."""
    value = object_in(parent, key, path)
    for name, each in value.items():
        if type(name) is not str or type(each) is not str:
            raise PodError(
                f"{path}/{key} has a value that is not a string, under {str(name)!r}",
                remedy="correct the manifest; YAML may want quotes there",
            )
    return value
