from dataclasses import replace

import pytest

from bedrock_meter.invocations.record import TokenCounts
from bedrock_meter.local.conservation import Counts, Delivered, contradictions
from bedrock_meter.local.stored import Stored, Totals
from bedrock_meter.tenants.attribution import UNATTRIBUTED
from bedrock_meter.usage.rollup import Sums

SENT = 12
COUNTS = Counts(read=12, recorded=7, duplicates=2, errors=1, quarantined=2, unattributed=3, unpriced=4)


def totals(
    tokens: int = 40, requests: int = 4, errors: int = 1, unattributed: int = 3, cost: int = 77, unpriced: int = 1
) -> Totals:
    found = Totals()
    found.add("acme", "p1", Sums(requests, errors, TokenCounts(input=tokens), cost, unpriced))
    found.add(UNATTRIBUTED, "p2", Sums(unattributed, 0, TokenCounts(output=9), unpriced=3))
    return found


STORED = Stored(totals(), totals(), 2)
EVENTS = Delivered(3, 3)


def test_sources_that_agree_leave_nothing_to_say() -> None:
    assert contradictions(SENT, COUNTS, STORED, STORED, EVENTS) == []


@pytest.mark.parametrize(
    ("changed", "wanted"),
    [
        ({"read": 11}, ["records: sent 12, the recorder read 11"]),
        ({"duplicates": 1}, ["recorded + duplicates + errors + quarantined 11"]),
        ({"recorded": 8}, ["requests: the recorder measured 8, the roll-ups hold 7", "the ledger hold 7"]),
        ({"errors": 0}, ["errors: the recorder measured 0, the roll-ups hold 1", "the ledger hold 1"]),
        ({"quarantined": 1}, ["quarantined records: the recorder measured 1, the bucket holds 2"]),
        ({"unpriced": 5}, ["unpriced requests: the recorder measured 5, the roll-ups hold 4", "the ledger hold 4"]),
        ({"unattributed": 2}, ["unattributed requests: the recorder measured 2, the roll-ups hold 3"]),
    ],
)
def test_each_measured_count_is_held_against_what_was_sent_and_stored(
    changed: dict[str, int], wanted: list[str]
) -> None:
    found = contradictions(SENT, replace(COUNTS, **changed), STORED, STORED, EVENTS)
    for words in wanted:
        assert any(words in line for line in found), found


def test_a_lost_record_cannot_hide_behind_a_doubled_one() -> None:
    lost_and_doubled = replace(COUNTS, recorded=6, duplicates=3)
    assert contradictions(SENT, lost_and_doubled, STORED, STORED, EVENTS)


@pytest.mark.parametrize(
    "ledger",
    [
        totals(tokens=41),
        totals(requests=5),
        totals(errors=2),
        totals(unattributed=4),
        totals(cost=78),
        totals(unpriced=0),
    ],
)
def test_roll_ups_and_ledger_must_agree_on_everything_they_ever_counted(ledger: Totals) -> None:
    found = contradictions(SENT, COUNTS, STORED, Stored(totals(), ledger, 2), EVENTS)
    assert any("the roll-ups hold" in line and "the ledger" in line for line in found)


def test_usage_that_only_one_of_them_knows_is_a_contradiction() -> None:
    ledger = totals()
    ledger.add("ghost", "p3", Sums(1))
    found = contradictions(SENT, COUNTS, STORED, Stored(totals(), ledger, 2), EVENTS)
    assert [line.split(":")[0] for line in found] == ["usage of tenant ghost", "usage of profile p3"]


@pytest.mark.parametrize("events", [Delivered(3, 2), Delivered(2, 3)])
def test_every_published_event_is_received_and_no_other(events: Delivered) -> None:
    assert len(contradictions(SENT, COUNTS, STORED, STORED, events)) == 1


def test_counts_come_from_the_recorders_own_metrics() -> None:
    metrics = {
        "RecordsRead": 12,
        "RecordsRecorded": 7,
        "RecordsDuplicate": 2,
        "RecordsFailed": 1,
        "RecordsQuarantined": 2,
        "RecordsUnattributed": 3,
        "RecordsUnpriced": 4,
    }
    assert Counts.measured(metrics) == COUNTS


def test_additions_show_what_is_new_and_what_changed() -> None:
    after = totals(tokens=50, requests=5)
    after.add("globex", "p3", Sums())
    added = Stored(after, after, 5).since(STORED)
    assert added.rollups.tenants == {"acme": Sums(1, 0, TokenCounts(input=10)), "globex": Sums()}
    assert added.ledger.profiles == {"p1": Sums(1, 0, TokenCounts(input=10)), "p3": Sums()}
    assert added.quarantined == 3
