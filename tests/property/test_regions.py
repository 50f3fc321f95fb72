"""Two Regions record the same request ids: each counts its own, and the sum over both is read, never written.

A counter that only grows in its own Region and is summed on reading (a G-counter) loses nothing when Regions fail over
to each other: whatever is delivered again, to whichever stack, finds the entry of its own Region's call.
"""

from collections.abc import Iterable, Sequence

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bedrock_meter.invocations.record import Invocation, TokenCounts
from bedrock_meter.tenants.attribution import Attribution
from bedrock_meter.usage.recorder import Recorded, Recorder
from bedrock_meter.usage.rollup import NOTHING, Sums
from tests.doubles.announcing import Silent
from tests.doubles.memory import MemoryRecordingStore, MemoryTables
from tests.doubles.rater import TestPrices
from tests.doubles.records import NOW_MS, invocation

REGIONS = ("us-east-1", "eu-central-1")
DAY_MS = 86_400_000


class Everything:
    """Belongs to one tenant."""

    def attribute(self, invocations: Sequence[Invocation], now_ms: int) -> list[Attribution]:
        return [Attribution("acme", "profile", "acme-profile", "a.model") for _ in invocations]


class Stack:
    """One Region's tables and recorder."""

    def __init__(self) -> None:
        self.tables = MemoryTables()

    def deliver(self, invocations: Sequence[Invocation]) -> None:
        """Each delivery meets a recorder that has just started."""
        recorder = Recorder(
            MemoryRecordingStore(self.tables),
            Everything(),
            Silent(),
            TestPrices(),
            retention_ms=400 * DAY_MS,
            clock=lambda: NOW_MS,
            sleep_ms=lambda _: None,
            uniform=lambda: 0.5,
        )
        recorder.record(invocations, Recorded(), lambda: 60_000)

    @property
    def used(self) -> Sums:
        """Requests and tokens of all rows; what they cost is not this test's."""
        return counts(self.tables.usage.values())


def counts(rows: Iterable[Sums]) -> Sums:
    return sum((Sums(one.requests, one.errors, one.tokens) for one in rows), NOTHING)


CALLS = st.tuples(st.sampled_from(REGIONS), st.integers(0, 6))


def call(region: str, number: int) -> Invocation:
    """The same id in both Regions, with other counts."""
    factor = 1 + REGIONS.index(region)
    made = invocation(f"r{number}", tokens=TokenCounts(100 * factor + number, factor, 0, 0))
    return replace(made, region=region)


def truth(calls: set[tuple[str, int]]) -> Sums:
    counted = [call(*one) for one in calls]
    return sum((Sums(1, 0, one.tokens) for one in counted), NOTHING)


@given(st.lists(st.lists(CALLS, min_size=1, max_size=8), max_size=12))
def test_the_sum_over_regions_counts_every_call_once(deliveries: list[list[tuple[str, int]]]) -> None:
    stacks = {region: Stack() for region in REGIONS}
    for delivery in deliveries:
        for region, stack in stacks.items():
            stack.deliver([call(*one) for one in delivery if one[0] == region])
    seen = {one for delivery in deliveries for one in delivery}
    assert sum((stack.used for stack in stacks.values()), NOTHING) == truth(seen)
    for region, stack in stacks.items():
        assert stack.used == truth({one for one in seen if one[0] == region})


@given(st.lists(st.lists(CALLS, min_size=1, max_size=8), max_size=12), st.data())
def test_one_stack_that_reads_the_logs_of_both_counts_the_same(
    deliveries: list[list[tuple[str, int]]], data: st.DataObject
) -> None:
    """As where one bucket holds the logs of all Regions."""
    one = Stack()
    for delivery in [*deliveries, *data.draw(st.permutations(deliveries))]:
        one.deliver([call(*each) for each in delivery])
    assert one.used == truth({each for delivery in deliveries for each in delivery})


def test_one_item_for_both_would_lose_what_a_replica_overwrites() -> None:
    """Why no table is replicated: the last writer of an item wins, and its additions replace the other's."""
    here, there = Stack(), Stack()
    for stack, region in ((here, REGIONS[0]), (there, REGIONS[1])):
        stack.deliver([call(region, number) for number in range(3)])
    replicated = here.tables.usage | there.tables.usage
    both = truth({(region, number) for region in REGIONS for number in range(3)})
    assert counts(replicated.values()) != both
    assert here.used + there.used == both
