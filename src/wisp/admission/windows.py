"""Decides whether a pod runs on Windows, as far as its spec says. Knows no policy.

A pod can ask for Windows by its `os` field, by a node selector, by a required node affinity, and by options that only
Windows has. What a RuntimeClass or a node's name implies cannot be known from the pod. Source of the rules: Kubernetes,
"Assigning Pods to Nodes", "Well-Known Labels", and PodSpec's `os`.
"""

from collections.abc import Iterator

from wisp.admission.shape import Object, object_or_empty

_LINUX, _WINDOWS = "linux", "windows"
_ANY = frozenset({_LINUX, _WINDOWS})
_NONE: frozenset[str] = frozenset()

_EXACT = frozenset({"kubernetes.io/os", "beta.kubernetes.io/os"})
"""Node labels that every node has, whose value is the operating system."""
_DISTRIBUTION = frozenset(
    {"kubernetes.azure.com/os-sku", "node.openshift.io/os_id", "cloud.google.com/gke-os-distribution"}
)
"""Node labels whose value names the operating system's distribution; all those of Windows begin with its name."""
_BUILD = "node.kubernetes.io/windows-build"
"""A node label that only Windows nodes have."""


def is_windows(spec: Object) -> bool:
    """Say whether one of the ways to choose nodes leaves only Windows.

    One is enough, even if another says Linux: such a pod never starts, and a refusal tells its author why.
    """
    ways = _ways(spec)
    if any(each == {_WINDOWS} for each in ways):
        return True
    return _WINDOWS in _ANY.intersection(*ways) and any(any(each.values()) for each in _windows_options(spec))


def may_be_windows(spec: Object) -> bool:
    """Say whether the pod names Windows nodes among those that it may run on, and Linux nodes too."""
    return (
        "affinity" in spec
        and _ANY.intersection(*_ways(spec)) == _ANY
        and any(_systems(each) == {_WINDOWS} or _names_windows(each) for each in _expressions(spec))
    )


def _ways(spec: Object) -> list[frozenset[str]]:
    """Return the operating systems that are left by each way to choose nodes."""
    system, selector = object_or_empty(spec, "os").get("name"), object_or_empty(spec, "nodeSelector")
    ways = [_value(key, value) for key, value in selector.items()]
    if system is not None:
        ways.append(_of_name(system))
    terms = _required_terms(spec)
    if terms is not None:  # the terms are alternatives; one without requirements matches no node
        ways.append(_NONE.union(*(_term(each) for each in terms)))
    return ways


def _required_terms(spec: Object) -> list[Object] | None:
    affinity = object_or_empty(object_or_empty(spec, "affinity"), "nodeAffinity")
    required = object_or_empty(affinity, "requiredDuringSchedulingIgnoredDuringExecution")
    return _objects(required, "nodeSelectorTerms") if required else None


def _term(term: Object) -> frozenset[str]:
    """Return the operating systems that one term of a node affinity leaves: its requirements hold together."""
    if not _objects(term, "matchExpressions") and not _objects(term, "matchFields"):
        return _NONE
    return _ANY.intersection(*(_systems(each) for each in _objects(term, "matchExpressions")))


def _systems(expression: Object) -> frozenset[str]:
    """Return the operating systems that one requirement on a node label leaves."""
    key, operator, values = expression.get("key"), expression.get("operator"), expression.get("values")
    listed = values if type(values) is list else []
    if operator == "In":
        return _NONE.union(*(_value(key, each) for each in listed))
    if operator == "NotIn" and key in _EXACT:
        return _ANY.difference(*(_of_name(each) for each in listed))
    if key == _BUILD:
        return {"Exists": frozenset({_WINDOWS}), "DoesNotExist": frozenset({_LINUX})}.get(str(operator), _ANY)
    return _NONE if operator == "DoesNotExist" and key in _EXACT else _ANY


def _value(key: object, value: object) -> frozenset[str]:
    """Return the operating systems of the nodes that have this label with this value."""
    if key in _EXACT:
        return _of_name(value)
    if key in _DISTRIBUTION:
        return frozenset({_WINDOWS if str(value).lower().startswith(_WINDOWS) else _LINUX})
    return frozenset({_WINDOWS}) if key == _BUILD else _ANY


def _of_name(name: object) -> frozenset[str]:
    """Return the operating system of that name: spelled with capitals it matches no node, but is clear."""
    return _ANY & {str(name).lower()}


def _names_windows(expression: Object) -> bool:
    """Say whether a requirement lists Windows among other values."""
    values = expression.get("values")
    listed = values if type(values) is list and expression.get("operator") == "In" else []
    return any(_value(expression.get("key"), each) == {_WINDOWS} for each in listed)


def _expressions(spec: Object) -> Iterator[Object]:
    """Yield every requirement on node labels, preferred ones too."""
    for term in _required_terms(spec) or ():
        yield from _objects(term, "matchExpressions")
    affinity = object_or_empty(object_or_empty(spec, "affinity"), "nodeAffinity")
    for preferred in _objects(affinity, "preferredDuringSchedulingIgnoredDuringExecution"):
        yield from _objects(object_or_empty(preferred, "preference"), "matchExpressions")


def _windows_options(spec: Object) -> Iterator[Object]:
    """Yield the options of security contexts that only Windows has: the pod's, and every container's."""
    for part in (spec, *(each for key in ("initContainers", "containers") for each in _objects(spec, key))):
        yield object_or_empty(object_or_empty(part, "securityContext"), "windowsOptions")


def _objects(parent: Object, key: str) -> list[Object]:
    value = parent.get(key)
    return [each for each in value if type(each) is dict] if type(value) is list else []
