"""Changing limits while usage is recorded: nothing lost, nothing doubled, whoever dies when."""

from collections.abc import Callable, Mapping, Sequence

import pytest

from bedrock_meter.errors import LeaseLost
from bedrock_meter.limits.gauge import Lease, read
from bedrock_meter.limits.installation import LEASE_MS, install_limits
from bedrock_meter.limits.limit import MAX_LIMITS, Layout, Limit
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.scope import NO_MODEL
from bedrock_meter.limits.seeding import seed_rows
from bedrock_meter.tenants.attribution import Attribution
from bedrock_meter.usage.ledger import Change, entry_for
from bedrock_meter.usage.packing import MAXIMUM_BUCKETS, Chunk, writes_of
from tests.doubles.memory import MemoryInstallationStore, MemoryRecordingStore, MemoryTables
from tests.doubles.records import NOW_MS, invocation, limit

QUARTER_MS = 900_000


class Scene:
    """A tenant's gauge, somebody who records and somebody who installs."""

    def __init__(self) -> None:
        self.tables = MemoryTables()
        self.recording = MemoryRecordingStore(self.tables)
        self.recording.create_gauge("acme")
        self.now_ms = NOW_MS
        self.recorded = 0
        self.refused = 0

    def record(self, event_ms: int | None = None, model: str = "a.model") -> bool:
        """Record one call of 15 tokens as a recorder that knows the gauge as it is; False if it has to wait."""
        record = invocation(f"r{self.recorded}", event_ms=self.now_ms if event_ms is None else event_ms)
        attribution = Attribution("acme", "profile", "acmeprofile1", model)
        entry = entry_for(record, attribution, now_ms=self.now_ms, retention_ms=400 * 86_400_000)
        layouts = {"acme": self.tables.gauges["acme"].layout}
        refused = self.recording.commit(writes_of(Chunk((Change(entry),)), layouts, self.now_ms))
        self.recorded += refused is None
        self.refused += refused is not None
        return refused is None

    def install(self, *limits: Limit, store: MemoryInstallationStore | None = None) -> bool:
        chosen = store or MemoryInstallationStore(self.tables, page=1)
        return install_limits(chosen, "acme", limits, clock=lambda: self.now_ms, new_id=lambda: "installer")

    def used(self) -> dict[str, int]:
        return {one.limit.name: one.used for one in read(self.tables.gauges["acme"], self.now_ms)}


def test_a_new_window_starts_with_what_was_used_before_it_existed() -> None:
    scene = Scene()
    for quarters in range(8):
        scene.record(NOW_MS - quarters * QUARTER_MS)
    assert scene.install(limit("1h"), limit("1h", meter=Meter.REQUESTS), limit("7d"))
    used = scene.used()
    assert used["total_tokens-7d"] == 8 * 15
    assert 4 * 15 <= used["total_tokens-1h"] <= 5 * 15
    assert used["requests-1h"] == used["total_tokens-1h"] // 15


def test_installing_the_same_limits_again_changes_nothing() -> None:
    scene = Scene()
    assert scene.install(limit("1h"))
    rev = scene.tables.gauges["acme"].rev
    assert not scene.install(limit("1h"))
    assert scene.tables.gauges["acme"].rev == rev


def test_whether_it_reserves_is_installed_like_a_limit_and_stays() -> None:
    scene = Scene()
    store = MemoryInstallationStore(scene.tables)

    def install(reserves: bool | None) -> bool:
        wanted = [limit("1m"), limit("1h")]
        return install_limits(store, "acme", wanted, clock=lambda: NOW_MS, new_id=lambda: "x", reserves=reserves)

    assert [install(True), install(True), install(None)] == [True, False, False]
    assert scene.install(limit("1m", 5))
    assert scene.tables.gauges["acme"].layout.reserves
    assert install(False)
    assert not scene.tables.gauges["acme"].layout.reserves


def test_a_raised_maximum_keeps_the_exact_buckets() -> None:
    scene = Scene()
    scene.install(limit("5m", 100))
    scene.record()
    assert scene.install(limit("5m", 200))
    assert scene.used() == {"total_tokens-5m": 15}
    assert scene.tables.gauges["acme"].layout.version == 2


def test_a_window_that_cannot_be_seeded_says_since_when_it_counts() -> None:
    scene = Scene()
    scene.record()
    scene.install(limit("1m"))
    (installed,) = scene.tables.gauges["acme"].layout.limits
    assert installed.since_ms == NOW_MS
    assert scene.used() == {"total_tokens-1m": 0}


class Interrupted(MemoryInstallationStore):
    """Runs something before each step of an installation."""

    def __init__(self, tables: MemoryTables, step: Callable[[str], None]) -> None:
        super().__init__(tables, page=1)
        self.step = step

    def begin(self, tenant: str, layout: Layout, lease: Lease, seen: Lease | None) -> bool:
        self.step("begin")
        return super().begin(tenant, layout, lease, seen)

    def renew(self, tenant: str, lease: Lease, renewed: Lease, seeded: Mapping[str, int]) -> bool:
        self.step("fill" if seeded else "renew")
        return super().renew(tenant, lease, renewed, seeded)

    def clear(self, tenant: str, lease: Lease, buckets: Sequence[str]) -> bool:
        self.step("clear")
        return super().clear(tenant, lease, buckets)

    def finish(self, tenant: str, layout: Layout, lease: Lease, seeded: Mapping[str, int]) -> bool:
        self.step("finish")
        return super().finish(tenant, layout, lease, seeded)


def test_usage_recorded_at_every_step_is_in_the_new_window_exactly_once() -> None:
    scene = Scene()
    scene.install(limit("3h"))
    for quarters in range(4):
        scene.record(NOW_MS - quarters * QUARTER_MS)
    outcomes: dict[str, bool] = {}
    store = Interrupted(scene.tables, lambda step: outcomes.__setitem__(step, scene.record()))
    assert scene.install(limit("3h"), limit("day"), limit("6h"), store=store)
    assert outcomes == {"begin": True, "renew": False, "finish": False}, "recorders wait from the lease to the end"
    scene.record()
    expected = scene.recorded * 15
    assert scene.used() == {"total_tokens-3h": expected, "total_tokens-day": expected, "total_tokens-6h": expected}


@pytest.mark.parametrize("dies_at", ["renew", "finish"])
def test_an_installer_that_dies_leaves_the_old_limits_in_force(dies_at: str) -> None:
    scene = Scene()
    scene.install(limit("3h"))
    scene.record()

    def die(step: str) -> None:
        if step == dies_at:
            raise ConnectionError(step)

    with pytest.raises(ConnectionError):
        scene.install(limit("3h"), limit("day"), store=Interrupted(scene.tables, die))
    lease = scene.tables.gauges["acme"].lease
    assert lease is not None
    assert not scene.record(), "until the lease has run out"
    scene.now_ms += LEASE_MS
    scene.recording.cancel_lease("acme", lease)
    assert scene.record()
    assert scene.used() == {"total_tokens-3h": 30}
    assert scene.install(limit("3h"), limit("day"))
    assert scene.used()["total_tokens-day"] == 30


def test_an_installer_that_slept_too_long_installs_nothing() -> None:
    scene = Scene()
    scene.record()

    def oversleep(step: str) -> None:
        lease = scene.tables.gauges["acme"].lease
        if step == "finish" and lease is not None:
            scene.now_ms = lease.expires_ms
            scene.recording.cancel_lease("acme", lease)
            scene.record()

    with pytest.raises(LeaseLost, match="acme"):
        scene.install(limit("day"), store=Interrupted(scene.tables, oversleep))
    assert scene.used() == {}
    assert scene.install(limit("day"))
    assert scene.used() == {"total_tokens-day": scene.recorded * 15}


def test_an_installation_whose_reply_got_lost_is_still_a_change() -> None:
    class LosesReply(MemoryInstallationStore):
        def finish(self, tenant: str, layout: Layout, lease: Lease, seeded: Mapping[str, int]) -> bool:
            assert super().finish(tenant, layout, lease, seeded)
            return super().finish(tenant, layout, lease, seeded)

    scene = Scene()
    scene.record()
    assert scene.install(limit("day"), store=LosesReply(scene.tables))
    assert scene.used() == {"total_tokens-day": 15}
    assert scene.tables.gauges["acme"].layout.version == 1


def test_two_installers_do_not_mix() -> None:
    scene = Scene()
    scene.tables.change_gauge("acme", lease=Lease("another", NOW_MS + LEASE_MS))
    with pytest.raises(LeaseLost, match="being changed by somebody else"):
        scene.install(limit("1h"))


def test_a_slot_that_is_used_again_does_not_inherit_old_buckets() -> None:
    scene = Scene()
    scene.install(limit("3h"))
    scene.record()
    scene.install()
    assert scene.tables.gauges["acme"].buckets, "left for pruning"
    scene.install(limit("6h"), limit("5m"))
    assert scene.used() == {"total_tokens-6h": 15, "total_tokens-5m": 0}


FULL = [limit(f"{1440 + minutes}m", meter=Meter.WEIGHTED_TOKENS) for minutes in range(MAX_LIMITS)]
"""As many limits as there can be; each gets thirteen buckets and as many marks: more than one update carries."""


def full_scene() -> Scene:
    scene = Scene()
    for hours in range(26):
        scene.record(NOW_MS - hours * 3_600_000, model=NO_MODEL)
    return scene


def seeded(scene: Scene) -> dict[str, int]:
    """What the buckets of the limits that are installed hold if they were seeded whole."""
    rows = list(scene.tables.usage.items())
    layout = scene.tables.gauges["acme"].layout
    return {name: held for one in layout.limits for name, held in seed_rows(one, rows, scene.now_ms).items()}


def test_more_buckets_than_one_update_carries_are_written_in_parts_under_the_lease() -> None:
    scene, outcomes = full_scene(), list[tuple[str, bool]]()
    store = Interrupted(scene.tables, lambda step: outcomes.append((step, scene.record())))
    assert scene.install(*FULL, store=store)
    written = [(step, recorded) for step, recorded in outcomes if step != "renew"]
    assert written == [("begin", True), ("fill", False), ("finish", False)], "recorders wait from the lease to the end"
    assert len(scene.tables.gauges["acme"].buckets) > MAXIMUM_BUCKETS
    assert scene.tables.gauges["acme"].buckets == seeded(scene)


def test_each_part_renews_the_lease() -> None:
    scene, expires_ms = full_scene(), list[int]()

    def step(name: str) -> None:
        lease = scene.tables.gauges["acme"].lease
        if lease is not None:
            expires_ms.append(lease.expires_ms - scene.now_ms)
            scene.now_ms += LEASE_MS - 1

    assert scene.install(*FULL, store=Interrupted(scene.tables, step))
    assert set(expires_ms[1:]) == {1}, "each step found the lease that the step before it had renewed"


@pytest.mark.parametrize(("dies_at", "left"), [("fill", 0), ("finish", MAXIMUM_BUCKETS)])
def test_what_a_dead_installer_had_written_is_in_no_window(dies_at: str, left: int) -> None:
    scene = full_scene()

    def die(step: str) -> None:
        if step == dies_at:
            raise ConnectionError(step)

    with pytest.raises(ConnectionError):
        scene.install(*FULL, store=Interrupted(scene.tables, die))
    lease = scene.tables.gauges["acme"].lease
    assert lease is not None
    assert scene.used() == {}
    assert len(scene.tables.gauges["acme"].buckets) == left
    scene.now_ms += LEASE_MS
    scene.recording.cancel_lease("acme", lease)
    # The slots go to other limits: of one that counts from now on, nothing may be left, no mark either.
    others = [limit(f"{minutes}m", meter=Meter.WEIGHTED_TOKENS) for minutes in range(1, MAX_LIMITS - 4)]
    assert scene.install(*others)
    assert scene.tables.gauges["acme"].buckets.items() >= seeded(scene).items()
    readings = read(scene.tables.gauges["acme"], scene.now_ms)
    assert {(one.used, one.uncounted) for one in readings if one.limit.since_ms is not None} == {(0, 0)}
