"""Decides whether a pod runs on Windows, as far as its spec says. Knows no policy.

A pod can ask for Windows by its `os` field, by a node selector, by a required node affinity, and by options that only
Windows has. What a RuntimeClass or a node's name implies cannot be known from the pod. Source of the rules: Kubernetes,
"Assigning Pods to Nodes", "Well-Known Labels", and PodSpec's `os`.
"""

from collections.abc import Iterator

import msgspec

from wisp.admission.shape import LabelExpression, NodeAffinity, NodeTerm, PodSpec, WindowsOptions

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


def is_windows(spec: PodSpec) -> bool:
    """Say whether one of the ways to choose nodes leaves only Windows.

    One is enough, even if another says Linux: such a pod never starts, and a refusal tells its author why.
    """
    ways = _ways(spec)
    if any(each == {_WINDOWS} for each in ways):
        return True
    return _WINDOWS in _ANY.intersection(*ways) and any(any(msgspec.structs.astuple(each)) for each in _options(spec))


def may_be_windows(spec: PodSpec) -> bool:
    """Say whether the pod names Windows nodes among those that it may run on, and Linux nodes too."""
    return (
        spec.affinity is not None
        and _ANY.intersection(*_ways(spec)) == _ANY
        and any(_systems(each) == {_WINDOWS} or _names_windows(each) for each in _expressions(spec))
    )


def _ways(spec: PodSpec) -> list[frozenset[str]]:
    """Return the operating systems that are left by each way to choose nodes."""
    ways = [_value(key, value) for key, value in (spec.nodeSelector or {}).items()]
    if spec.os is not None and spec.os.name is not None:
        ways.append(_of_name(spec.os.name))
    terms = _required_terms(spec)
    if terms is not None:  # the terms are alternatives; one without requirements matches no node
        ways.append(_NONE.union(*(_term(each) for each in terms)))
    return ways


def _affinity(spec: PodSpec) -> NodeAffinity | None:
    return None if spec.affinity is None else spec.affinity.nodeAffinity


def _required_terms(spec: PodSpec) -> list[NodeTerm] | None:
    affinity = _affinity(spec)
    required = None if affinity is None else affinity.requiredDuringSchedulingIgnoredDuringExecution
    return None if required is None else required.nodeSelectorTerms


def _term(term: NodeTerm) -> frozenset[str]:
    """Return the operating systems that one term of a node affinity leaves: its requirements hold together."""
    if not term.matchExpressions and not term.matchFields:
        return _NONE
    return _ANY.intersection(*(_systems(each) for each in term.matchExpressions or ()))


def _systems(expression: LabelExpression) -> frozenset[str]:
    """Return the operating systems that one requirement on a node label leaves."""
    key, operator, listed = expression.key, expression.operator, expression.values or []
    if operator == "In":
        return frozenset(system for each in listed for system in _value(key, each))
    if operator == "NotIn" and key in _EXACT:
        return _ANY - {system for each in listed for system in _of_name(each)}
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


def _names_windows(expression: LabelExpression) -> bool:
    """Say whether a requirement lists Windows among other values."""
    listed = expression.values or [] if expression.operator == "In" else []
    return any(_value(expression.key, each) == {_WINDOWS} for each in listed)


def _expressions(spec: PodSpec) -> Iterator[LabelExpression]:
    """Yield every requirement on node labels, preferred ones too."""
    for term in _required_terms(spec) or ():
        yield from term.matchExpressions or ()
    affinity = _affinity(spec)
    if affinity is not None:
        for preferred in affinity.preferredDuringSchedulingIgnoredDuringExecution or ():
            yield from (preferred.preference or NodeTerm()).matchExpressions or ()


def _options(spec: PodSpec) -> Iterator[WindowsOptions]:
    """Yield the options of security contexts that only Windows has: the pod's, and every container's."""
    for part in (spec, *(spec.initContainers or ()), *(spec.containers or ())):
        if part.securityContext is not None and part.securityContext.windowsOptions is not None:
            yield part.securityContext.windowsOptions
