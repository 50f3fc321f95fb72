"""Which record settles which reservation, through the recorder."""

import pytest
from msgspec.structs import replace

from bedrock_meter.invocations.identifiers import RESERVATION_KEY
from bedrock_meter.invocations.record import NO_TOKENS, Invocation, TokenCounts
from bedrock_meter.limits.estimates import Estimate
from bedrock_meter.limits.gauge import Gauge, read
from bedrock_meter.limits.limit import NO_LIMITS, plan_change
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.reservations import Reservation, named_in
from bedrock_meter.limits.reserving import Reservations
from bedrock_meter.tenants.attribution import Attribution
from bedrock_meter.usage.ledger import Change, entry_for
from bedrock_meter.usage.packing import MAXIMUM_ITEMS, Writes, pack, writes_of
from bedrock_meter.usage.recorder import Recorded, Refused
from bedrock_meter.usage.settlement import Settlements
from tests.doubles.memory import MemoryRecordingStore, MemoryTables
from tests.doubles.records import NOW_MS, invocation, limit
from tests.doubles.reservations import MemoryReservationStore
from tests.unit.usage.recording_bench import Bench


class Reserving(Bench):
    """A recorder and callers who reserve, over the same tables."""

    def __init__(self, store: MemoryRecordingStore | None = None) -> None:
        super().__init__(store)
        numbers = iter(range(1, 10_000))
        self.reservations = Reservations(
            MemoryReservationStore(self.tables),
            clock=lambda: self.now_ms,
            sleep_ms=self._sleep,
            uniform=lambda: 0.5,
            new_id=lambda: f"{next(numbers):032x}",
        )
        self.tenant("acme", limit("1h", 1_000, hard=True), limit("1d", 50, meter=Meter.REQUESTS))
        self.tenant("globex", limit("1h", 1_000, hard=True))

    def reserve(self, tokens: int = 100, *, tenant: str = "acme", is_lease: bool = False) -> Reservation:
        made = self.reservations.reserve(tenant, Estimate(input_tokens=tokens), is_lease=is_lease).reservation
        assert made is not None
        return made

    def reserved(self, tenant: str = "acme") -> list[int]:
        return [reading.reserved for reading in read(self.tables.gauges[tenant], self.now_ms)]

    def status(self, reservation: Reservation) -> str:
        return self.tables.reservations[reservation.tenant, reservation.id].status


def call(request_id: str, reservation: Reservation | str, **options: object) -> Invocation:
    identity = reservation if isinstance(reservation, str) else reservation.id
    made = invocation(request_id, **options)  # type: ignore[arg-type]
    return replace(made, metadata=(("job", "nightly"), (RESERVATION_KEY, identity)))


def test_the_record_replaces_what_was_reserved_by_what_was_used() -> None:
    bench = Reserving()
    one, two = bench.reserve(), bench.reserve()
    assert bench.reserved() == [200, 2]
    report = bench.record(call("r1", one))
    assert (report.recorded, report.settled, bench.status(one), bench.status(two)) == (1, 1, "settled", "open")
    assert (bench.reserved(), bench.used("acme")) == ([100, 1], [15, 1])
    assert bench.tables.ledger[call("r1", one).call_id].reservation == one.id


def test_a_batch_reads_what_it_names_once_and_one_that_names_nothing_reads_nothing() -> None:
    bench = Reserving()
    made = [bench.reserve(10) for _ in range(5)]
    bench.record(invocation("r0"))
    assert bench.store.reservation_reads == 0
    bench.record(*[call(f"r{number}", one) for number, one in enumerate(made, 1)])
    assert (bench.store.reservation_reads, bench.reserved()) == (1, [0, 0])


def test_a_redelivery_settles_nothing_more() -> None:
    bench = Reserving()
    one = bench.reserve()
    bench.reserve()
    for _ in range(2):
        bench.record(call("r1", one))
    bench.recorder = bench.fresh()
    assert bench.record(call("r1", one)).settled == 0
    assert bench.reserved() == [100, 1]


def test_one_id_used_by_several_calls_is_settled_once() -> None:
    bench = Reserving()
    one = bench.reserve()
    bench.reserve()
    assert bench.record(call("r1", one), call("r2", one)).settled == 1
    assert bench.record(call("r3", one)).settled == 0
    assert (bench.reserved(), bench.used("acme")) == ([100, 1], [45, 3])


def test_a_duplicate_does_not_take_the_settlement_from_another_call_of_its_batch() -> None:
    bench = Reserving()
    bench.record(invocation("r1"))
    one = bench.reserve()
    report = bench.record(call("r1", one), call("r2", one))
    assert (report.recorded, report.duplicates, report.settled) == (1, 1, 1)
    assert bench.reserved() == [0, 0]


def test_a_twin_without_tokens_does_not_settle_and_the_one_with_tokens_does() -> None:
    bench = Reserving()
    one = bench.reserve()
    assert bench.record(call("r1", one, tokens=NO_TOKENS)).settled == 0
    assert bench.reserved() == [100, 1]
    assert bench.record(call("r1", one)).settled == 1
    assert bench.record(call("r1", one, tokens=TokenCounts(50, 50))).settled == 0
    assert (bench.reserved(), bench.used("acme")) == ([0, 0], [100, 1])


def test_twins_of_one_batch_settle_once_whichever_of_them_names_the_reservation() -> None:
    bench = Reserving()
    one, two = bench.reserve(), bench.reserve()
    report = bench.record(invocation("r1", tokens=NO_TOKENS), call("r1", one), call("r2", two), invocation("r2"))
    assert (report.settled, bench.reserved()) == (2, [0, 0])


def test_a_failed_attempt_does_not_settle_and_the_next_one_does() -> None:
    bench = Reserving()
    one = bench.reserve()
    assert bench.record(call("r1", one, error_code="ThrottlingException")).settled == 0
    assert bench.reserved() == [100, 1]
    assert bench.record(call("r2", one)).settled == 1
    assert bench.reserved() == [0, 0]


def test_a_success_that_replaces_a_failure_settles() -> None:
    bench = Reserving()
    one = bench.reserve()
    bench.record(call("r1", one, error_code="ModelErrorException"))
    assert bench.record(call("r1", one)).settled == 1


def test_a_lease_is_not_freed_by_records() -> None:
    bench = Reserving()
    lease = bench.reserve(500, is_lease=True)
    report = bench.record(call("r1", lease), call("r2", lease))
    assert (report.recorded, report.settled, bench.status(lease)) == (2, 0, "open")
    assert (bench.reserved(), bench.used("acme")) == ([500, 1], [30, 2])


def test_an_expired_one_is_not_given_back() -> None:
    bench = Reserving()
    one = bench.reserve()
    bench.now_ms = one.expires_ms
    report = bench.record(call("r1", one))
    assert (report.recorded, report.settled, bench.status(one)) == (1, 0, "open")
    assert bench.reserved() == [100, 1]


def test_another_tenants_reservation_is_not_settled() -> None:
    bench = Reserving()
    one = bench.reserve()
    assert bench.record(call("r1", one, profile="globexprofile")).settled == 0
    assert bench.record(call("r2", one, profile="strangerprofile")).settled == 0
    assert bench.reserved() == [100, 1]


def test_what_is_no_id_is_not_even_looked_for() -> None:
    bench = Reserving()
    assert bench.record(call("r1", "0" * 32)).settled == 0
    assert bench.store.reservation_reads == 1
    for text in ("", "A" * 32, "0" * 31, "0" * 33, "RESERVATION#" + "0" * 20, "ü" * 32):
        assert named_in(((RESERVATION_KEY, text),)) == ""
    assert named_in((("other", "0" * 32),)) == ""


def test_what_was_shrunk_meanwhile_is_given_back_as_it_is_now() -> None:
    class Shrinks(MemoryRecordingStore):
        def commit(self, writes: Writes) -> Refused | None:
            if self.commits == 0:
                bench.reservations.shrink("acme", one.id, {"input_tokens": 15})
            return super().commit(writes)

    bench = Reserving(Shrinks(MemoryTables()))
    one = bench.reserve()
    report = bench.record(call("r1", one))
    assert (report.recorded, report.settled, report.transactions) == (1, 1, 2)
    assert bench.reserved() == [0, 0]


def test_what_was_released_meanwhile_is_not_given_back_again_and_the_usage_stays() -> None:
    class Releases(MemoryRecordingStore):
        def commit(self, writes: Writes) -> Refused | None:
            if self.commits == 0:
                bench.reservations.release("acme", one.id)
            return super().commit(writes)

    bench = Reserving(Releases(MemoryTables()))
    one = bench.reserve()
    bench.reserve(40)
    report = bench.record(call("r1", one), call("r2", one))
    assert (report.recorded, report.settled, bench.status(one)) == (2, 0, "released")
    assert (bench.reserved(), bench.used("acme")) == ([40, 1], [30, 2])


def test_reservations_are_items_of_their_chunk() -> None:
    layout = plan_change(NO_LIMITS, [limit("1h"), limit("day")]).next
    tables = MemoryTables(gauges={"acme": Gauge("acme", 0, layout, {})})
    numbers = iter(range(1, 1_000))
    reserving = Reservations(
        MemoryReservationStore(tables),
        clock=lambda: NOW_MS,
        sleep_ms=lambda _: None,
        uniform=lambda: 0.5,
        new_id=lambda: f"{next(numbers):032x}",
    )
    attribution = Attribution("acme", "profile", "acme-profile", "a.model")
    changes = []
    for number in range(98):
        made = reserving.reserve("acme", Estimate(input_tokens=1)).reservation
        assert made is not None
        entry = entry_for(call(f"r{number}", made), attribution, now_ms=NOW_MS, retention_ms=1)
        changes.append(Change(entry, reservation=made.id))
    settlements = Settlements(tables.reservations)
    chunks = pack(changes, {"acme": layout}, NOW_MS, settlements)
    assert [len(chunk.changes) for chunk in chunks] == [49, 49]
    assert all(writes_of(one, {"acme": layout}, NOW_MS, settlements).items == MAXIMUM_ITEMS for one in chunks)
    assert Recorded().settled == 0


IMAGE, RERANK, TEXT, UNKNOWN = "i.painter", "q.ranker", "a.model", "-"
EMBEDDED = TokenCounts(12)


@pytest.mark.parametrize(
    ("model", "tokens", "images", "settles"),
    [
        (TEXT, TokenCounts(10, 5), None, True),
        (TEXT, EMBEDDED, None, True),
        (TEXT, NO_TOKENS, None, False),
        (TEXT, NO_TOKENS, 0, False),
        (IMAGE, NO_TOKENS, 1, True),
        (IMAGE, NO_TOKENS, 0, True),
        (IMAGE, NO_TOKENS, None, True),
        (RERANK, NO_TOKENS, None, True),
        (UNKNOWN, NO_TOKENS, 2, True),
        (UNKNOWN, NO_TOKENS, None, False),
        (UNKNOWN, EMBEDDED, None, True),
    ],
)
@pytest.mark.parametrize("twin", ["none", "before", "after", "same batch", "error before", "error after"])
def test_what_bears_its_usage_settles_once_whenever_its_twin_comes(
    model: str, tokens: TokenCounts, images: int | None, settles: bool, twin: str
) -> None:
    bench = Reserving()
    bench.model = model
    one = bench.reserve()
    bench.reserve(40)
    record = replace(call("r1", one, tokens=tokens), images=images)
    other = call("r1", one, tokens=NO_TOKENS)
    if "error" in twin:
        other = call("r1", one, error_code="ModelErrorException")
    batches = {
        "none": [[record]],
        "before": [[other], [record]],
        "after": [[record], [other]],
        "same batch": [[other, record]],
        "error before": [[other], [record]],
        "error after": [[record], [other]],
    }[twin]
    settled = [bench.record(*batch).settled for batch in batches]
    assert sum(settled) == int(settles)
    assert (bench.status(one), bench.reserved()[1]) == ("settled" if settles else "open", 2 - settles)
    assert bench.tables.reservations["acme", one.id].settled_by == (record.call_id if settles else "")
    bench.recorder = bench.fresh()
    assert sum(bench.record(*batch).settled for batch in batches) == 0, "a redelivery settles nothing more"


def test_a_text_call_whose_twin_brings_the_counts_settles_with_the_counts() -> None:
    bench = Reserving()
    one = bench.reserve()
    assert bench.record(call("r1", one, tokens=NO_TOKENS)).settled == 0
    bench.now_ms += 60_000
    assert bench.record(call("r1", one, tokens=TokenCounts(60, 20))).settled == 1
    assert (bench.reserved(), bench.used("acme")) == ([0, 0], [80, 1])
