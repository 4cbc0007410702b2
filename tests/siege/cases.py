"""All cases, by process. `python -m tests.siege.cases` prints the tables of docs/reference/siege.md."""

import sys
from collections.abc import Mapping

from tests.siege import gateway_cases, sidecar_cases, webhook_cases
from tests.siege.case import Case

GROUPS: Mapping[str, Mapping[str, Case]] = {
    "webhook": webhook_cases.CASES,
    "gateway": gateway_cases.CASES,
    "sidecar": sidecar_cases.CASES,
}


def table(group: str) -> str:
    """Return the Markdown table of a group's cases."""
    rows = [f"| `{name}` | {case.sender} | {case.sentence} | {case.defence} |" for name, case in GROUPS[group].items()]
    return "\n".join(["| case | attacker | attack | protection |", "|---|---|---|---|", *rows])


if __name__ == "__main__":
    sys.stdout.write("\n\n".join(map(table, GROUPS)) + "\n")
