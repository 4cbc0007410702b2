"""Decides which labels and annotations have no effect where they are, and where they belong. Knows no pod.

Labels and annotations are taken as they were decoded: neither their keys' nor their values' types are known.
"""

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import lru_cache
from itertools import islice
from typing import TypeAlias

from wisp.admission import names
from wisp.admission.shape import PodError, object_or_empty

Misuse: TypeAlias = tuple[str, ...]
"""The text of a warning, and what is put in place of each `{}` of it."""

LABEL_VALUE = 'the label azure.workload.identity/use is {}: only "true" counts, so nothing is injected'
LABEL_AS_ANNOTATION = "the annotation {} has no effect: azure.workload.identity/use is a label of the pod"
ANNOTATION_AS_LABEL = "the label {} has no effect: it is an annotation of the {}"
SIMILAR_LABEL = "the label {} is misspelled: write azure.workload.identity/use"
SIMILAR_ANNOTATION = "the annotation {} is misspelled: write azure.workload.identity/{}"
NO_LABEL = "the annotation {} has no effect: the pod has no label azure.workload.identity/use"
UNKNOWN_LABEL = "the label {} is unknown and has no effect"
ON_POD = "the annotation {} belongs on the pod: it has no effect on the service account"
UNKNOWN_ON_ACCOUNT = "the annotation {} of the service account is unknown and has no effect"

_DECLINES = frozenset({"false", "f", "no", "n", "off", "0", "none", "disabled"})
_KNOWN = frozenset({names.USE, *names.ON_PODS, *names.ON_ACCOUNTS})
_ACCOUNTS_ONLY = names.ON_ACCOUNTS - names.ON_PODS
MOST = 256
"""Labels, or annotations, of a pod or service account that warnings are about: comparing them takes time."""
_LONGEST = 128
"""Characters of a key that is compared with the known ones."""
_CUTOFF = 0.95
"""How alike two keys are, of 1, that differ by one letter of 24 (difflib's ratio)."""
_WORD = re.compile(r"[a-z0-9]+")


def _flat(text: str) -> str:
    return "".join(_WORD.findall(text.lower()))


_BY_FLAT = {_flat(key): key for key in sorted(_KNOWN)}
_BY_SUFFIX = {_flat(key.removeprefix(names.PREFIX)): key for key in sorted(_KNOWN)}


@lru_cache(maxsize=1024)
def intended(key: str) -> str | None:
    """Return the label or annotation that `key` is a misspelling of; None if it is one itself or resembles none."""
    if key in _KNOWN or key.startswith(names.USE_ENDPOINT) or len(key) > _LONGEST:
        return None
    lowered = key.lower()
    if "azure" not in lowered and "workload" not in lowered and "identity" not in lowered:
        return None
    head, _, tail = lowered.rpartition("/" if "/" in lowered else ".")
    if "azure" in head and ("workload" in head or "identity" in head) and _flat(tail) in _BY_SUFFIX:
        return _BY_SUFFIX[_flat(tail)]
    return next((_BY_FLAT[each] for each in get_close_matches(_flat(lowered), _BY_FLAT, 1, _CUTOFF)), None)


def meaning(key: str) -> str | None:
    """Return the label or annotation that `key` is, or is a misspelling of; None if it is neither."""
    return key if key in _KNOWN or key.startswith(names.USE_ENDPOINT) else intended(key)


@lru_cache(maxsize=1024)  # of keys that `wisp.admission.pod` has found to be no longer than Kubernetes allows
def concerns(key: str) -> bool:
    """Say whether a label or annotation is one of this project's, or a misspelling of one."""
    return key.startswith(names.PREFIX) or intended(key) is not None


def declines(value: object) -> bool:
    """Say whether a value of the label `use` says in some spelling that no identity is wanted."""
    return type(value) is str and value.strip().lower() in _DECLINES


def check_types(metadata: object, path: str) -> None:
    """Raise PodError if the labels are not a map, or a label or annotation of this project is not a string.

    API servers reject these. In YAML, `true`, `yes`, `on` and numbers are not strings unless they are quoted.
    """
    if type(metadata) is not dict:
        return
    labels = metadata.get("labels")
    if labels is not None and type(labels) is not dict:
        raise PodError(f"{path}/labels is not an object", hint='write each label as a line of its own, KEY: "VALUE"')
    for kind in ("labels", "annotations"):
        check_texts(object_or_empty(metadata, kind), f"{path}/{kind}")


def check_texts(values: Mapping[str, object], path: str) -> None:
    """Raise PodError if a label or annotation of this project in the map at `path` is not a string."""
    for key, value in values.items():
        if type(value) is not str and type(key) is str and key.startswith(names.PREFIX):
            raise PodError(f"{path}/{key} is not a string", hint='write its value in quotes, such as "true"')


def of_pod(metadata: object) -> Iterator[Misuse]:
    """Yield what is wrong with the labels of a pod, and which annotations are misspelled or labels."""
    labels = object_or_empty(metadata, "labels")
    for key in filter(concerns, islice(labels, MOST)):
        if key != names.USE:
            yield from of_label(key)
        elif labels[key] != "true" and not declines(labels[key]):
            yield LABEL_VALUE, f'"{labels[key]}"'
    for key in filter(concerns, islice(object_or_empty(metadata, "annotations"), MOST)):
        if key == names.USE:
            yield LABEL_AS_ANNOTATION, _short(key)
        elif key not in _KNOWN:
            yield from of_similar_annotation(key)


def of_unlabelled(metadata: object) -> Iterator[Misuse]:
    """Yield the first annotation of a pod that has no effect because the pod has no label `use` at all."""
    if names.USE not in object_or_empty(metadata, "labels"):
        found = (key for key in object_or_empty(metadata, "annotations") if key in names.ON_PODS)
        yield from ((NO_LABEL, _short(key)) for key in islice(found, 1))


def of_account(metadata: object) -> Iterator[Misuse]:
    """Yield what is wrong with the labels and annotations of a service account."""
    for key in filter(concerns, islice(object_or_empty(metadata, "labels"), MOST)):
        if key != names.USE:  # which has no effect there either, but is often set by the guides of others
            yield from of_label(key)
    for key in filter(concerns, islice(object_or_empty(metadata, "annotations"), MOST)):
        if key == names.USE:
            yield LABEL_AS_ANNOTATION, _short(key)
        elif key not in names.ON_ACCOUNTS:
            if key in names.ON_PODS or key.startswith(names.USE_ENDPOINT):
                yield ON_POD, _short(key)
            elif intended(key) is not None:
                yield from of_similar_annotation(key)
            elif key.startswith(names.PREFIX):
                yield UNKNOWN_ON_ACCOUNT, _short(key)


def of_label(key: str) -> Iterator[Misuse]:
    """Yield what is wrong with a label, which is not `use`."""
    meant = meaning(key)
    if meant == names.USE:
        yield SIMILAR_LABEL, key
    elif meant is not None:
        yield ANNOTATION_AS_LABEL, _short(key), home_of(meant)
    elif key.startswith(names.PREFIX):
        yield UNKNOWN_LABEL, _short(key)


def of_similar_annotation(key: str) -> Iterator[Misuse]:
    """Yield what is wrong with an annotation that is not known, if it resembles a known one."""
    meant = intended(key)
    if meant == names.USE:
        yield LABEL_AS_ANNOTATION, key
    elif meant is not None:
        yield SIMILAR_ANNOTATION, key, _short(meant)


def home_of(key: str) -> str:
    """Return where an annotation belongs, "pod" or "service account"."""
    return "service account" if key in _ACCOUNTS_ONLY else "pod"


def _short(key: str) -> str:
    return key.removeprefix(names.PREFIX)
