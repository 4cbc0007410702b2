"""A strict parser of Prometheus' text exposition format 0.0.4."""

import re
from dataclasses import dataclass, field

_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"')
_SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}


@dataclass
class Family:
    """One metric: its type and its samples by name and labels."""

    kind: str
    samples: dict[tuple[str, ...], float] = field(default_factory=dict)


def parse(page: str) -> dict[str, Family]:
    """Return the metrics by name; fail on anything that the format does not allow."""
    assert page.endswith("\n")
    families: dict[str, Family] = {}
    lines = iter(page.splitlines())
    name = ""
    for line in lines:
        if line.startswith("# HELP "):
            name = line.split(" ", 3)[2]
            _, word, again, kind = next(lines).split(" ")
            assert (word, again) == ("TYPE", name)
            assert name not in families, "a metric is in one place"
            assert (kind == "counter") == name.endswith("_total")
            families[name] = Family(kind)
        else:
            _add(families[name], name, line)
    return families


def _add(family: Family, name: str, line: str) -> None:
    match = _SAMPLE.fullmatch(line)
    assert match is not None, line
    sample, labels, value = match.groups()
    assert sample in {name + suffix for suffix in _SUFFIXES[family.kind]}, line
    pairs = [] if labels is None else [f"{label[1]}={label[2]}" for label in _LABEL.finditer(labels)]
    assert labels is None or ",".join(label[0] for label in _LABEL.finditer(labels)) == labels, line
    key = (sample.removeprefix(name), *pairs)
    assert key not in family.samples, "a sample is there once"
    family.samples[key] = float(value)
