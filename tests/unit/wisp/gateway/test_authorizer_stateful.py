"""Whatever happens in the cluster, and in whatever order: who gets an identity was allowed to use it seconds ago."""

import asyncio
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.fakes import CLIENT_ID
from tests.unit.wisp.gateway.test_authorizer import ACCESS_REVIEW, OTHER_ID, TOKEN_REVIEW, Bench
from tests.unit.wisp.kubernetes.callers import TERMINATING, Pod
from wisp.gateway.types import Authorized, Forbidden, Unauthenticated, Undecided

GRANT_SECONDS, DENIAL_SECONDS = 10.0, 2.0
IDENTITIES = (CLIENT_ID, OTHER_ID)
LIFETIMES = (5.0, 45.0, 3600.0)
"""Of the three pods' tokens."""
NEVER = float("inf")


class Step(NamedTuple):
    """Pod and identity ask, `seconds` after what was before, and then something happens to them."""

    what: str
    pod: int
    identity: int
    seconds: float


steps = st.lists(
    st.builds(
        Step,
        st.sampled_from(["nothing", "grant", "grant", "delete", "fault"]),
        st.sampled_from([0, 0, 0, 1, 2]),
        st.sampled_from([0, 0, 1]),
        st.sampled_from([0.0, 0.0, 0.1, 1.9, 2.0, 5.0, 9.9, 10.0, 60.0]),
    ),
    max_size=40,
)


class History:
    """When each pod was last allowed, and last not allowed, to use each identity."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.pods = [bench.callers.pod(service_account=name) for name in ("a", "b", "c")]
        self.expiries = [bench.clock.now + seconds for seconds in LIFETIMES]
        self.tokens = [
            bench.callers.token(pod, seconds=seconds) for pod, seconds in zip(self.pods, LIFETIMES, strict=True)
        ]
        self.deleted: dict[Pod, float] = {}
        self.allowed_at: dict[tuple[int, int], float] = {}
        self.denied_at: dict[tuple[int, int], float] = {}
        self.note()

    def note(self) -> None:
        """Note who is allowed now. It must be called before and after every change."""
        now = self.bench.clock.now
        for pod, identity in [(pod, identity) for pod in range(3) for identity in range(2)]:
            is_granted = (IDENTITIES[identity], self.pods[pod].username) in self.bench.callers.grants
            times = self.allowed_at if is_granted and now < self.end(pod) else self.denied_at
            times[pod, identity] = now

    def end(self, pod: int) -> float:
        """Return when the token of a pod ends."""
        return min(self.expiries[pod], self.deleted.get(self.pods[pod], NEVER) + TERMINATING)

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and note the ends of tokens in between."""
        self.note()
        until = self.bench.clock.now + seconds
        for end in sorted(self.end(pod) for pod in range(3)):
            if self.bench.clock.now < end <= until:
                self.bench.clock.now = end - 1e-9
                self.note()
                self.bench.clock.now = end
                self.note()
        self.bench.clock.now = until
        self.note()

    def change(self, step: Step) -> None:
        """Change the cluster."""
        callers, pod = self.bench.callers, self.pods[step.pod]
        grant = (IDENTITIES[step.identity], pod.username)
        match step.what:
            case "grant":
                callers.grants ^= {grant}
            case "delete" if pod in self.deleted:  # as if it had not been, which a restored etcd can do
                del self.deleted[pod], callers.deleted[pod.uid]
            case "delete":
                self.deleted[pod] = self.bench.clock.now
                callers.deleted[pod.uid] = self.bench.unix()
            case "fault" if self.bench.api.faults:
                self.bench.api.faults.clear()
            case "fault":
                kind = (TOKEN_REVIEW, ACCESS_REVIEW)[step.identity]
                self.bench.api.faults[kind] = None if step.pod else 500


@pytest.mark.system
@given(steps)
@settings(deadline=None, max_examples=settings().max_examples * 10)
def test_answer_was_right_seconds_ago(steps: list[Step]) -> None:
    async def scenario() -> None:
        bench = Bench()
        history = History(bench)
        for step in steps:
            history.pass_time(step.seconds)
            found = await bench.ask(history.tokens[step.pod], IDENTITIES[step.identity])
            now, place = bench.clock.now, (step.pod, step.identity)
            if isinstance(found, Authorized):
                assert now - history.allowed_at[place] < GRANT_SECONDS
                assert now < history.expiries[step.pod]
                assert found.caller.pod_uid == history.pods[step.pod].uid
            elif isinstance(found, Forbidden | Unauthenticated):
                assert now - history.denied_at[place] < DENIAL_SECONDS
            else:
                assert isinstance(found, Undecided)
                assert bench.api.faults, "the API server answers"
            history.change(step)
            history.note()

    asyncio.run(scenario())
