"""A recorder on a bench: doubles all around it, and time that only sleeping moves."""

from collections.abc import Callable, Sequence

from bedrock_meter.invocations.record import Invocation
from bedrock_meter.limits.gauge import Gauge, read
from bedrock_meter.limits.limit import NO_LIMITS, plan_change
from bedrock_meter.tenants.attribution import UNATTRIBUTED, Attribution
from bedrock_meter.usage.ledger import LedgerEntry
from bedrock_meter.usage.packing import Writes
from bedrock_meter.usage.recorder import Recorded, Recorder, Refused, UnacceptableWrites
from bedrock_meter.usage.rollup import NOTHING, Sums
from bedrock_meter.usage.settlement import Uncovered
from tests.doubles.memory import MemoryRecordingStore, MemoryTables
from tests.doubles.rater import TestPrices
from tests.doubles.records import NOW_MS


class ByProfile:
    """Attributes a profile ``<tenant>profile…`` to that tenant, anything else to nobody."""

    def __init__(self, model: Callable[[], str] = lambda: "a.model") -> None:
        self._model = model

    def attribute(self, invocations: Sequence[Invocation], now_ms: int) -> list[Attribution]:
        found = []
        for one in invocations:
            profile = one.model_id.rpartition("/")[2]
            tenant, is_known, _ = profile.partition("profile")
            known = Attribution(tenant, "profile", profile, self._model())
            found.append(known if is_known else Attribution(UNATTRIBUTED, "none", profile, "-"))
        return found


class Announced:
    """Remembers announcements."""

    def __init__(self) -> None:
        self.profiles: list[str] = []
        self.unpriced: list[tuple[str, str]] = []
        self.unreserved: list[tuple[str, str]] = []
        self.uncovered: list[tuple[str, Uncovered]] = []
        self.busy = 0

    def announce(self, entry: LedgerEntry, now_ms: int) -> bool:
        if self.busy:
            self.busy -= 1
            return False
        self.profiles.append(entry.profile)
        return True

    def announce_unpriced(self, entry: LedgerEntry, now_ms: int) -> bool:
        if self.busy:
            self.busy -= 1
            return False
        self.unpriced.append((entry.profile, entry.model))
        return True

    def announce_unreserved(self, entry: LedgerEntry, uncovered: Uncovered, now_ms: int) -> bool:
        if self.busy:
            self.busy -= 1
            return False
        self.unreserved.append((entry.tenant, uncovered.reason))
        self.uncovered.append((entry.key, uncovered))
        return True


class Bench:
    """A recorder with everything around it, and time that only sleeping moves."""

    def __init__(self, store: MemoryRecordingStore | None = None) -> None:
        self.tables = store.tables if store else MemoryTables()
        self.store = store or MemoryRecordingStore(self.tables)
        self.announced = Announced()
        self.prices = TestPrices()
        self.now_ms = NOW_MS
        self.model = "a.model"
        self.slept: list[int] = []
        self.remaining_ms = 60_000
        self.recorder = self.fresh()

    def fresh(self) -> Recorder:
        """A recorder as in a new environment, over the same store."""
        return Recorder(
            self.store,
            ByProfile(lambda: self.model),
            self.announced,
            self.prices,
            retention_ms=400 * 86_400_000,
            clock=lambda: self.now_ms,
            sleep_ms=self._sleep,
            uniform=lambda: 0.5,
        )

    def _sleep(self, duration_ms: int) -> None:
        self.slept.append(duration_ms)
        self.now_ms += duration_ms
        self.remaining_ms -= duration_ms

    def tenant(self, tenant: str, *limits: object) -> None:
        layout = plan_change(NO_LIMITS, limits).next  # type: ignore[arg-type]
        self.tables.gauges[tenant] = Gauge(tenant, 0, layout, {})

    def record(self, *invocations: Invocation) -> Recorded:
        report = Recorded()
        self.recorder.record(invocations, report, lambda: self.remaining_ms)
        return report

    def total(self, tenant: str) -> Sums:
        return sum((value for key, value in self.tables.usage.items() if key.tenant == tenant), NOTHING)

    def used(self, tenant: str) -> list[int]:
        return [reading.used for reading in read(self.tables.gauges[tenant], self.now_ms)]


class RefusesPoison(MemoryRecordingStore):
    """Will never store the call ``poison``."""

    def commit(self, writes: Writes) -> Refused | None:
        if any(change.entry.key.endswith("#poison") for change in writes.changes):
            raise UnacceptableWrites("an item is too large")
        return super().commit(writes)
