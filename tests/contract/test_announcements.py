"""Announcing unattributed usage, and what the sweep finds due. On DynamoDB itself: both live in one sparse index."""

import pytest

from bedrock_meter.alerts.evaluator import Evaluated
from bedrock_meter.alerts.outbox import Pending
from bedrock_meter.alerts.review import PARTS
from bedrock_meter.alerts.sweep import Worklist
from bedrock_meter.alerts.wiring import review, worklist
from bedrock_meter.limits.gauge import bucket_name
from bedrock_meter.limits.installation import install_limits
from bedrock_meter.local.endpoint import Endpoint
from bedrock_meter.settings import Tables
from bedrock_meter.storage import gauges
from bedrock_meter.storage.announcements import DynamoDBAnnouncer
from bedrock_meter.storage.dynamodb import connection
from bedrock_meter.storage.installation import DynamoDBInstallationStore
from bedrock_meter.storage.keys import outbox_sort_key
from bedrock_meter.storage.outboxes import DynamoDBOutboxStore
from bedrock_meter.tenants.attribution import UNATTRIBUTED, Attribution
from bedrock_meter.usage.ledger import LedgerEntry, entry_for
from bedrock_meter.usage.settlement import Uncovered
from tests.doubles.memory import MemoryBus
from tests.doubles.records import NOW_MS, invocation, limit

DAY_MS = 86_400_000


class Scene:
    """The tables, a bus in memory and a clock."""

    def __init__(self, endpoint: Endpoint, tables: Tables) -> None:
        self.client = connection()
        self.tables = tables
        self.outboxes = DynamoDBOutboxStore(self.client, tables)
        self.bus = MemoryBus()
        self.now_ms = NOW_MS

    def announcer(self) -> DynamoDBAnnouncer:
        return DynamoDBAnnouncer(self.client, self.tables)

    def worklist(self) -> Worklist:
        made = worklist(self.client, lambda: None, self.tables, "bus", now=lambda: self.now_ms)
        made._bus = made._evaluator._bus = self.bus
        return made

    def sweep(self) -> Evaluated:
        report = Evaluated()
        assert self.worklist().sweep(report, lambda: 60_000) == []
        return report


@pytest.fixture
def scene(endpoint: Endpoint, tables: Tables) -> Scene:
    return Scene(endpoint, tables)


def entry(profile: str = "nobodys00001", event_ms: int = NOW_MS) -> LedgerEntry:
    record = invocation("r1", profile=profile, event_ms=event_ms)
    return entry_for(record, Attribution(UNATTRIBUTED, "none", profile, "-"), now_ms=NOW_MS, retention_ms=DAY_MS)


def test_a_profile_is_announced_once_a_day_whoever_asks(scene: Scene) -> None:
    for announcer in (scene.announcer(), scene.announcer()):
        assert announcer.announce(entry(), NOW_MS)
        assert announcer.announce(entry(), NOW_MS)
    assert len(list(scene.outboxes.due(NOW_MS))) == 1
    scene.announcer().announce(entry(event_ms=NOW_MS + DAY_MS), NOW_MS)
    scene.announcer().announce(entry("another00001"), NOW_MS)
    assert len(list(scene.outboxes.due(NOW_MS))) == 3


def unpriced(profile: str = "acmeprofile1", model: str = "a.new", tenant: str = "acme") -> LedgerEntry:
    attribution = Attribution(tenant, "profile", profile, model)
    return entry_for(invocation("r1", profile=profile), attribution, now_ms=NOW_MS, retention_ms=DAY_MS)


def test_usage_without_a_reservation_is_announced_once_a_day_and_tenant(scene: Scene) -> None:
    for announcer in (scene.announcer(), scene.announcer()):
        for one in (unpriced(), unpriced("acmeprofile2", "b.new"), unpriced(tenant="globex")):
            assert announcer.announce_unreserved(one, Uncovered("none"), NOW_MS)
    assert scene.sweep().published == 2
    assert scene.sweep().published == 0
    assert {event.detail_type for event in scene.bus.received} == {"Unreserved Usage Detected"}
    assert {event.detail["tenant"] for event in scene.bus.received} == {"acme", "globex"}


def test_a_model_without_a_price_is_announced_once_a_day_and_profile(scene: Scene) -> None:
    for announcer in (scene.announcer(), scene.announcer()):
        for entry_of in (unpriced(), unpriced(), unpriced(model="b.new"), unpriced("acmeprofile2")):
            assert announcer.announce_unpriced(entry_of, NOW_MS)
    assert scene.sweep().published == 3
    assert scene.sweep().published == 0
    details = [event.detail for event in scene.bus.received]
    assert {event.detail_type for event in scene.bus.received} == {"Usage Unpriced"}
    assert {(one["tenant"], one["profile"], one["model"]) for one in details} == {
        ("acme", "acmeprofile1", "a.new"),
        ("acme", "acmeprofile1", "b.new"),
        ("acme", "acmeprofile2", "a.new"),
    }


def test_usage_of_nobody_without_a_price_is_announced_as_both(scene: Scene) -> None:
    nobodys = unpriced("nobodys00001", "-", UNATTRIBUTED)
    announcer = scene.announcer()
    assert announcer.announce(nobodys, NOW_MS)
    assert announcer.announce_unpriced(nobodys, NOW_MS)
    assert scene.sweep().published == 2
    assert [("tenant" in event.detail, event.detail["day"]) for event in scene.bus.received] == [
        (False, "2026-11-18")
    ] * 2


def test_the_sweep_publishes_what_is_due_and_then_it_is_due_no_more(scene: Scene) -> None:
    scene.announcer().announce(entry(), NOW_MS)
    scene.bus.fail = "InternalFailure"
    assert scene.sweep().refused == 1
    assert scene.sweep().refused == 0, "not due again before the next minute"
    scene.bus.fail = None
    scene.now_ms += 60_000
    assert scene.sweep().published == 1
    assert list(scene.outboxes.due(scene.now_ms + DAY_MS)) == []
    assert scene.announcer().announce(entry(), NOW_MS), "the day stays announced"
    assert scene.sweep().published == 0
    (event,) = scene.bus.received
    assert (event.detail_type, event.detail["profile"]) == ("Usage Unattributed", "nobodys00001")


def test_an_announcement_that_is_refused_for_good_is_parked(scene: Scene) -> None:
    scene.announcer().announce(entry(), NOW_MS)
    scene.bus.refuse = "NotAuthorizedForSourceException"
    reports = []
    for _ in range(5):
        reports.append(scene.sweep())
        scene.now_ms += 60_000
    assert [report.parked for report in reports] == [0, 0, 0, 0, 1]
    partition, sort_key = UNATTRIBUTED, outbox_sort_key("nobodys00001", "2026-11-18")
    assert scene.outboxes.pending(partition, sort_key) == ()
    key = {"pk": {"S": partition}, "sk": {"S": sort_key}}
    item = scene.client.get_item(TableName=scene.tables.quotas, Key=key)["Item"]
    assert [name for name in item if name.startswith("parked:")]


def test_a_rise_without_a_hint_is_found_by_the_sweep_within_an_hour(scene: Scene) -> None:
    installations = DynamoDBInstallationStore(scene.client, scene.tables)
    for tenant, used in (("acme", 1_200), ("globex", 10)):
        install_limits(installations, tenant, [limit("7d", 1_000)], clock=lambda: scene.now_ms, new_id=lambda: "x")
        gauge = gauges.load_one(scene.client, scene.tables.quotas, tenant)
        assert gauge is not None
        (installed,) = gauge.layout.limits
        name = bucket_name(installed.slot, installed.window, scene.now_ms)
        request = gauges.add_request(scene.tables.quotas, tenant, gauge.layout.version, {name: used})
        request.pop("ReturnValuesOnConditionCheckFailure")
        scene.client.update_item(**request)
    scene.now_ms += 25 * 3_600_000
    announced = []
    for _ in range(2 * PARTS):
        scene.now_ms += 60_000
        report = Evaluated()
        judging = scene.worklist()
        assert judging.sweep(report, lambda: 60_000) == []
        looking = review(scene.client, judging, scene.tables, now=lambda: scene.now_ms)
        assert looking.run(report, lambda: 60_000) == []
        announced.append(report.published)
    assert (sum(announced[:PARTS]), sum(announced[PARTS:])) == (3, 0)
    assert {event.detail["tenant"] for event in scene.bus.received} == {"acme"}


def test_a_throttle_is_lifted_by_the_sweep_alone(scene: Scene) -> None:
    store = DynamoDBInstallationStore(scene.client, scene.tables)
    install_limits(store, "acme", [limit("1h", 100)], clock=lambda: scene.now_ms, new_id=lambda: "x")
    gauge = gauges.load_one(scene.client, scene.tables.quotas, "acme")
    assert gauge is not None
    (installed,) = gauge.layout.limits
    bucket = installed.slot + format_base36(scene.now_ms // installed.window.sub_ms)  # type: ignore[union-attr]
    scene.client.update_item(**without_condition(gauges.add_request(scene.tables.quotas, "acme", 1, {bucket: 200})))
    report = Evaluated()
    assert scene.worklist().handle_all([("acme", "GAUGE"), ("acme", "GAUGE")], report) == []
    assert report.tenants == 1
    assert scene.bus.received[-1].detail_type == "Tenant Throttled"
    for _ in range(200):
        scene.now_ms += 60_000
        scene.sweep()
    kinds = [event.detail_type for event in scene.bus.received]
    assert kinds == ["Quota Threshold Crossed"] * 2 + ["Tenant Throttled", "Tenant Throttle Lifted"]
    assert list(scene.outboxes.due(scene.now_ms + 100 * DAY_MS)) == []


def test_one_tenant_that_fails_does_not_hold_up_the_others(scene: Scene) -> None:
    scene.announcer().announce(entry(), NOW_MS)
    made = scene.worklist()
    sort_key = outbox_sort_key("nobodys00001", "2026-11-18")

    def explode(tenant: str, report: Evaluated) -> None:
        raise RuntimeError(tenant)

    made._evaluator.evaluate = explode  # type: ignore[method-assign]
    report = Evaluated()
    (failure,) = made.handle_all([("acme", "GAUGE"), (UNATTRIBUTED, sort_key)], report)
    assert failure.item == ("acme", "GAUGE")
    assert report.published == 1


def test_two_profiles_share_no_outbox(scene: Scene) -> None:
    for profile in ("p1", "p2"):
        scene.announcer().announce(entry(profile), NOW_MS)
    items = list(scene.outboxes.due(NOW_MS))
    pendings: list[tuple[Pending, ...]] = [scene.outboxes.pending(*item) for item in items]
    assert sorted(one.event.detail["profile"] for (one,) in pendings) == ["p1", "p2"]


def format_base36(number: int) -> str:
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    text = ""
    while number:
        number, digit = divmod(number, 36)
        text = digits[digit] + text
    return text


def without_condition(request: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in request.items() if name != "ReturnValuesOnConditionCheckFailure"}
