"""Metrics in Prometheus' text exposition format 0.0.4.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"


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


def family(name: str, kind: str, text: str, samples: dict[str, object]) -> str:
    """Return the lines of one metric. The keys of `samples` are what follows the name: labels in braces, or nothing."""
    lines = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    lines += [f"{name}{rest} {value}" for rest, value in samples.items()]
    return "\n".join(lines) + "\n"
