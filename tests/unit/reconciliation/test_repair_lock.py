"""One repair at a time: who is refused hears why, who was killed is in nobody's way, who lost the lock stops."""

import itertools
import threading

import pytest

from bedrock_meter.clock import iso
from bedrock_meter.errors import RepairLost, RepairUnderWay
from bedrock_meter.reconciliation.repair_lock import LOCK_MS, RENEW_MS, SPARE_MS, RepairLock
from tests.doubles.records import NOW_MS
from tests.doubles.repair_lock import MemoryRepairLock


class People:
    """Who share one lock and one clock."""

    def __init__(self, renew_s: float = 3_600) -> None:
        self.now_ms = NOW_MS
        self.store = MemoryRepairLock()
        numbers = itertools.count()
        self.lock = RepairLock(
            self.store, clock=lambda: self.now_ms, new_id=lambda: f"run {next(numbers)}", renew_s=renew_s
        )


@pytest.fixture
def people() -> People:
    return People()


def test_a_second_one_hears_who_is_at_work_since_when_and_until_when(people: People) -> None:
    with people.lock.hold("rerate", "arn:anna"):
        people.now_ms += 5_000
        with pytest.raises(RepairUnderWay) as refused, people.lock.hold("rebuild --in-place", "arn:bert"):
            raise AssertionError
    for words in (
        "`rerate` of arn:anna",
        f"since {iso(NOW_MS)} ",
        f"until {iso(NOW_MS + LOCK_MS)}:",
        "nothing was done",
    ):
        assert words in str(refused.value)


def test_it_is_free_afterwards_whatever_ended_it(people: People) -> None:
    for ending in (ZeroDivisionError, KeyboardInterrupt):
        with pytest.raises(ending), people.lock.hold("rerate", "arn:anna"):
            raise ending
        assert people.store.held.holder is None
    with people.lock.hold("reattribute", "arn:bert") as held:
        held.check()
    assert people.store.held.taken == 3


def test_who_was_killed_is_in_nobodys_way_when_the_lock_has_run_out(people: People) -> None:
    killed = people.lock.hold("rerate", "arn:anna")
    killed.__enter__()
    people.now_ms += LOCK_MS - 1
    with pytest.raises(RepairUnderWay), people.lock.hold("rerate", "arn:anna"):
        raise AssertionError
    people.now_ms += 1
    with people.lock.hold("rerate", "arn:anna"):
        killed.__exit__(None, None, None)
        assert people.store.held.holder is not None, "who comes late gives back nothing that is somebody else's"


def test_a_renewal_moves_the_end_and_an_outage_is_borne_while_the_lock_lasts(people: People) -> None:
    with people.lock.hold("rerate", "arn:anna") as held:
        people.now_ms += RENEW_MS
        held.renew()
        assert people.store.renewals == (NOW_MS + RENEW_MS + LOCK_MS,)
        people.store.outage = OSError("no network")
        people.now_ms += LOCK_MS - SPARE_MS
        with pytest.raises(OSError, match="no network"):
            held.renew()
        held.check()
        people.now_ms += 1
        with pytest.raises(RepairLost):
            held.check()
        people.store.outage = None
        held.renew()
        held.check()


def test_who_stood_still_until_somebody_else_took_it_writes_nothing_more(people: People) -> None:
    with people.lock.hold("rerate", "arn:anna") as held:
        people.now_ms += LOCK_MS
        with people.lock.hold("rebuild --in-place", "arn:bert"):
            held.renew()
            with pytest.raises(RepairLost, match="run the command again"):
                held.check()
        people.now_ms = NOW_MS
        with pytest.raises(RepairLost):
            held.check()


def test_a_thread_renews_while_the_command_works_and_ends_with_it() -> None:
    people = People(renew_s=0.001)
    before = threading.active_count()
    people.store.outage = OSError("at first there is no network")
    with people.lock.hold("rerate", "arn:anna"):
        renewed = threading.Event()
        people.now_ms += 7
        people.store.outage = None
        while not people.store.renewals:
            renewed.wait(0.001)
    assert people.store.renewals[-1] == people.now_ms + LOCK_MS
    assert threading.active_count() == before


def test_comparing_takes_nothing_and_two_can_compare_at_once(people: People) -> None:
    with people.lock.watch(), people.lock.watch():
        assert people.store.held.taken == 0


def test_comparing_is_refused_while_somebody_works(people: People) -> None:
    with people.lock.hold("reattribute", "arn:anna"):
        with pytest.raises(RepairUnderWay, match="`reattribute` of arn:anna"), people.lock.watch():
            raise AssertionError
        people.now_ms += LOCK_MS
        with people.lock.watch():
            pass


def test_a_comparison_that_somebody_worked_under_says_nothing(people: People) -> None:
    watch, hold = people.lock.watch(), people.lock.hold("rerate", "arn:anna")
    with pytest.raises(RepairUnderWay, match="compare again"), watch, hold:
        pass
    begun = people.lock.hold("rerate", "arn:anna")
    with pytest.raises(RepairUnderWay, match="`rerate` of arn:anna"), people.lock.watch():
        begun.__enter__()
    begun.__exit__(None, None, None)
