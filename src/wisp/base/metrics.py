"""Metrics in Prometheus' text exposition format 0.0.4.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from collections.abc import Mapping

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
_MOST_CODES = 64
"""Distinct label values of a CodeCounter."""


class Histogram:
    """Durations in seconds, counted by the upper bounds `bounds`."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self._sum += seconds
        bucket = 0
        for bound in self._bounds:
            if seconds <= bound:
                break
            bucket += 1
        self._counts[bucket] += 1

    def samples(self) -> dict[str, object]:
        """Return the samples by the rest of their names, for `family`."""
        samples: dict[str, object] = {}
        total = 0
        for bound, count in zip((*self._bounds, "+Inf"), self._counts, strict=True):
            total += count
            samples[f'_bucket{{le="{bound}"}}'] = total
        return {**samples, "_sum": f"{self._sum:.6f}", "_count": total}


class CodeCounter:
    """Exchanges by result and AADSTS code. Codes come from the other side, so further ones are counted together."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}

    def add(self, result: str, code: int | None) -> None:
        """Count one exchange."""
        key = (result, "" if code is None else str(code))
        if key not in self._counts and len(self._counts) >= _MOST_CODES:
            key = (result, "other")
        self._counts[key] = self._counts.get(key, 0) + 1

    def samples(self) -> dict[str, object]:
        """Return the samples by their labels, for `family`."""
        return {f'{{result="{result}",aadsts="{code}"}}': count for (result, code), count in self._counts.items()}


def labelled(label: str, counts: Mapping[str, int]) -> dict[str, object]:
    """Return the samples of `counts` by the value of `label`, for `family`."""
    return {f'{{{label}="{value}"}}': count for value, count in counts.items()}


def family(name: str, kind: str, text: str, samples: dict[str, object]) -> str:
    """Return the lines of one metric. The keys of `samples` are what follows the name: labels in braces, or nothing."""
    lines = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    lines += [f"{name}{rest} {value}" for rest, value in samples.items()]
    return "\n".join(lines) + "\n"
