"""What is wrong with a lab, from what was seen of it; sees nothing itself."""

from dataclasses import dataclass

from wisp_local.lab.record import Behind, Cloud, Record


@dataclass(frozen=True)
class Seen:
    """What was seen: whether the cloud runs and answers, and what is wrong with the API server behind it, if one is."""

    record: Record | None
    runs: bool = False
    answers: bool = False
    behind: str | None = None

    @property
    def running(self) -> Cloud | None:
        """The cloud that runs."""
        return self.record.cloud if self.record is not None and self.runs else None


def problems(seen: Seen) -> list[str]:
    """Say each with what to do about it; nothing when all that should run does."""
    if seen.record is None:
        return ["there is no lab here: `wisp lab up` makes one"]
    cloud = seen.record.cloud
    if cloud is None:
        return ["the lab is down: `wisp lab up` starts it again, with all that it kept"]
    if not seen.runs:
        lost = f"the local cloud (process {cloud.pid}) has ended by itself"
        return [f"{lost}: `wisp lab up` starts it again, with all that it kept"]
    found = []
    if not seen.answers:
        found.append(f"the local cloud (process {cloud.pid}) runs but does not answer: `wisp lab down`, `wisp lab up`")
    if seen.behind is not None:
        found.append(seen.behind)
    return found


def kind_of(behind: Behind) -> str:
    """Name what is behind the clusters: `none`, `kubeconfig` or `cluster`."""
    if behind.own:
        return "cluster"
    return "none" if behind.kubeconfig is None else "kubeconfig"
