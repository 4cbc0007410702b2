"""Decides what a Kubernetes quantity amounts to. Source: k8s.io/apimachinery/pkg/api/resource, Quantity."""

import re
from fractions import Fraction
from functools import lru_cache

_QUANTITY = re.compile(
    r"\+?([0-9]{1,18}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})(?:([eE][+-]?[0-9]{1,2})|(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE])?)"
)
_SCALES = {
    **{name: Fraction(1000) ** power for name, power in zip("num kMGTPE", range(-3, 7), strict=True)},
    **{name: Fraction(1024) ** power for power, name in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), start=1)},
}


def quantity(text: str) -> Fraction | None:
    """Return how much `text` is (cores, bytes), or None where it is no quantity or less than nothing."""
    return _known(text) if len(text) <= _SHORT else _read(text)


def _read(text: str) -> Fraction | None:
    found = _QUANTITY.fullmatch(text)
    if found is None:
        return None
    number, exponent, suffix = found.groups()
    scale = Fraction(10) ** int(exponent[1:]) if exponent else _SCALES.get(suffix or " ", Fraction(1))
    return Fraction(f"0{number}" if number[0] == "." else number.rstrip(".")) * scale


_SHORT = 16
"""Characters of those worth remembering: the same few come in pod after pod, and fractions are slow."""
_known = lru_cache(maxsize=256)(_read)
