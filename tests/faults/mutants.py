"""Designs that look right and count wrong, kept alive so that the simulator proves that it would notice.

Each is a small change of the product, as small as the mistake is in real meters. In peace every one of them counts
exactly; under the generic schedules each must die, and by what it does to the sums or to a consumer, not by a detail.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from typing import Any
from unittest.mock import patch

from botocore.exceptions import ClientError

from bedrock_meter.alerts import sweep
from bedrock_meter.alerts.contracts import Event
from bedrock_meter.alerts.evaluator import Evaluated, TenantState
from bedrock_meter.alerts.sweep import Worklist
from bedrock_meter.errors import DeliverAgain
from bedrock_meter.limits import installation
from bedrock_meter.limits.gauge import Gauge, Lease
from bedrock_meter.limits.limit import LayoutChange, plan_change
from bedrock_meter.limits.seeding import first_quarter_ms, mark_unseeded, seed_rows
from bedrock_meter.storage import gauges
from bedrock_meter.storage.dynamodb import error_code, number, text
from bedrock_meter.storage.failures import S3FailureStore
from bedrock_meter.storage.installation import DynamoDBInstallationStore
from bedrock_meter.storage.recording import DynamoDBRecordingStore, entry_of
from bedrock_meter.storage.states import DynamoDBEvaluationStore
from bedrock_meter.usage.ingestion import Ingestion
from bedrock_meter.usage.ledger import Change
from bedrock_meter.usage.packing import Chunk, Writes, writes_of
from bedrock_meter.usage.recorder import Recorder, Refused
from bedrock_meter.usage.redrive import Failure, Redrive
from tests.doubles.failures import FUNCTION
from tests.faults import boost_mutants, rating_mutants
from tests.faults.designs import Design
from tests.faults.world import BUCKET, DAY_MS, TABLES, World

_LOCK_MS = 60_000
_ADD_ATTEMPTS = 50


class Store(DynamoDBRecordingStore):
    """The product's store with what the wrong ones need."""

    def __init__(self, recorder: Recorder, world: World) -> None:
        self.client = world.client("dynamodb")
        super().__init__(self.client, TABLES)
        self.recorder, self.world = recorder, world

    def add(self, changes: Sequence[Change]) -> None:
        """Add to roll-ups and gauges, in one transaction without any marker."""
        if not changes:
            return
        for _ in range(_ADD_ATTEMPTS):
            writes = writes_of(Chunk(tuple(changes)), self.recorder._layouts, self.world.scheduler.clock())
            items = [self._rollup_request(key, sums) for key, sums in writes.rollups.items()]
            for tenant, (version, adds) in writes.gauges.items():
                items.append({"Update": gauges.add_request(TABLES.quotas, tenant, version, adds)})
            try:
                self.client.transact_write_items(TransactItems=items)
                return
            except ClientError as error:
                if error_code(error) != "TransactionCanceledException":
                    raise
                for tenant, head in self.heads(writes.gauges).items():
                    self.recorder._layouts[tenant] = head.layout
                for tenant in writes.gauges:
                    self.create_gauge(tenant)
                self.world.scheduler.sleep(300)
        raise DeliverAgain("nothing could be added")

    def mark(self, change: Change) -> Refused | None:
        """Write one entry under its condition; returns what is there if it fails."""
        ((kind, request),) = self._entry_request(change).items()
        try:
            (self.client.put_item if kind == "Put" else self.client.update_item)(**request)
        except ClientError as error:
            if error_code(error) != "ConditionalCheckFailedException":
                raise
            held = error.response.get("Item")
            return Refused({change.entry.key: entry_of(held) if held else None})
        return None

    def look(self, change: Change) -> Refused | None:
        """Say whether the entry is already what ``change`` makes of it, by reading only."""
        key = {"pk": text(change.entry.key)}
        item = self.client.get_item(TableName=TABLES.ledger, Key=key, ConsistentRead=True).get("Item")
        held = entry_of(item) if item else None
        as_expected = (held.tokens, held.error_code) if held else None
        wanted = (change.held.tokens, change.held.error_code) if change.held else None
        return None if as_expected == wanted else Refused({change.entry.key: held})


def _is_free(client: Any, key: str, now_ms: int) -> bool:
    """Take a lock or marker; False if somebody has it."""
    try:
        client.put_item(
            TableName=TABLES.tenants,
            Item={"pk": text(f"LOCK#{key}"), "sk": text("LOCK"), "at_ms": number(now_ms)},
            ConditionExpression="attribute_not_exists(pk) OR at_ms < :old",
            ExpressionAttributeValues={":old": number(now_ms - _LOCK_MS)},
        )
    except ClientError as error:
        if error_code(error) != "ConditionalCheckFailedException":
            raise
        return False
    return True


def _merged(refusals: Sequence[Refused | None]) -> Refused | None:
    held = {key: entry for one in refusals if one is not None for key, entry in one.held.items()}
    return Refused(held) if held else None


class AddOnly(Store):
    def _entry_request(self, change: Change) -> dict[str, Any]:
        request = super()._entry_request(change)
        for one in request.values():
            one.pop("ConditionExpression" if change.held is None else "", None)
        return request


class MarkerThenAdd(Store):
    def commit(self, writes: Writes) -> Refused | None:
        refusals = [self.mark(change) for change in writes.changes]
        self.add([change for change, no in zip(writes.changes, refusals, strict=True) if no is None])
        return _merged(refusals)


class AddThenMarker(Store):
    def commit(self, writes: Writes) -> Refused | None:
        refusals = [self.look(change) for change in writes.changes]
        new = [change for change, no in zip(writes.changes, refusals, strict=True) if no is None]
        self.add(new)
        for change in new:
            self.mark(change)
        return _merged(refusals)


class LockAroundAdd(Store):
    def commit(self, writes: Writes) -> Refused | None:
        refusals: list[Refused | None] = []
        for change in writes.changes:
            key = change.entry.key
            if not _is_free(self.client, key, self.world.scheduler.now_ms):
                return Refused(busy=frozenset({change.entry.tenant}))
            refusals.append(self.look(change))
            if refusals[-1] is None:
                self.add([change])
                self.mark(change)
            self.client.delete_item(TableName=TABLES.tenants, Key={"pk": text(f"LOCK#{key}"), "sk": text("LOCK")})
        return _merged(refusals)


def _batch_id(writes: Writes) -> str:
    content = sorted(f"{change.entry.key}{change.entry.tokens}{change.entry.error_code}" for change in writes.changes)
    return sha256("|".join(content).encode()).hexdigest()[:32]


class _Marked:
    """A client whose transactions carry something about the batch."""

    def __init__(self, client: Any, **extra: Any) -> None:
        self._client, self._extra = client, extra

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def transact_write_items(self, TransactItems: list[dict[str, Any]]) -> None:  # noqa: N803 - botocore's name
        marker = self._extra.pop("marker", None)
        self._client.transact_write_items(TransactItems=TransactItems + ([marker] if marker else []), **self._extra)


class MarkerPerBatch(AddOnly):
    def commit(self, writes: Writes) -> Refused | None:
        key = {"pk": text(f"BATCH#{_batch_id(writes)}"), "sk": text("BATCH")}
        put = {"TableName": TABLES.tenants, "Item": key, "ConditionExpression": "attribute_not_exists(pk)"}
        if "Item" in self.client.get_item(TableName=TABLES.tenants, Key=key, ConsistentRead=True):
            return Refused({change.entry.key: change.entry for change in writes.changes})
        self._client = _Marked(self.client, marker={"Put": put})
        return super().commit(writes)


class BatchToken(AddOnly):
    def commit(self, writes: Writes) -> Refused | None:
        self._client = _Marked(self.client, ClientRequestToken=_batch_id(writes))
        return super().commit(writes)


class DropsBatch(Store):
    def commit(self, writes: Writes) -> Refused | None:
        refused = super().commit(writes)
        if refused is not None and refused.held:
            return Refused({change.entry.key: change.entry for change in writes.changes})
        return refused


class FirstTwinWins(Store):
    def commit(self, writes: Writes) -> Refused | None:
        refused = super().commit(writes)
        if refused is None:
            return None
        kept = [change.entry for change in writes.changes if change.entry.key in refused.held]
        return Refused({entry.key: entry for entry in kept}, refused.gauges, refused.busy)


class ErrorReleases(Store):
    def commit(self, writes: Writes) -> Refused | None:
        refused = super().commit(writes)
        for change in writes.changes if refused is not None else ():
            if change.entry.key in (refused.held if refused else ()) and change.entry.error_code is not None:
                self.client.delete_item(TableName=TABLES.ledger, Key={"pk": text(change.entry.key)})
        return refused


class WithoutOutbox(DynamoDBEvaluationStore):
    def save(
        self, tenant: str, state: TenantState, *, before: TenantState, events: Sequence[Event], late: Mapping[str, int]
    ) -> bool:
        return super().save(tenant, state, before=before, events=(), late=late)


class OldImages(DynamoDBEvaluationStore):
    """Believes the stream's image instead of reading the gauge."""

    images: dict[str, Any]

    def load(self, tenant: str) -> tuple[Gauge, TenantState] | None:
        loaded = super().load(tenant)
        if loaded is None or tenant not in self.images:
            return loaded
        gauge, state = loaded
        old = gauges.gauge_of(self.images[tenant])
        pending = TenantState(state.version, 0, state.layout_version, state.levels, state.pending, state.next_due_ms)
        return old, pending if old.rev < gauge.rev else state


class ImageWorklist(Worklist):
    store: OldImages
    world: World

    def handle_all(self, items: Any, report: Evaluated) -> list[sweep.Failure]:
        positions = items.items() if isinstance(items, dict) else ()
        found = {key[0]: self.world.stream[at][2] for key, at in positions if key[1] == "GAUGE"}
        self.store.images = {tenant: image for tenant, image in found.items() if image is not None}
        return super().handle_all(items, report)


def _recording(store: type[Store]) -> Callable[[Ingestion, World], Ingestion]:
    def change(made: Ingestion, world: World) -> Ingestion:
        made._recorder._store = store(made._recorder, world)
        return made

    return change


def _forgetful(made: Ingestion, world: World) -> Ingestion:
    made._recorder._retention_ms = DAY_MS
    return made


def _without_outbox(made: Worklist, world: World) -> Worklist:
    made._evaluator._store = WithoutOutbox(world.client("dynamodb"), TABLES)
    return made


def _old_images(made: Worklist, world: World) -> Worklist:
    store = OldImages(world.client("dynamodb"), TABLES)
    store.images = {}
    made._evaluator._store = store
    changed = ImageWorklist(made._evaluator, made._outboxes, made._bus, is_outbox=made._is_outbox, clock=made._clock)
    changed.store, changed.world = store, world
    return changed


class DeletesFirst(S3FailureStore):
    def read(self, failure: Failure) -> bytes | None:
        content = super().read(failure)
        self.delete(failure)
        return content


def _deletes_first(made: Redrive, world: World) -> Redrive:
    made._store = DeletesFirst(lambda: world.client("s3"), BUCKET, FUNCTION)
    return made


def _seeds(store: DynamoDBInstallationStore, tenant: str, change: LayoutChange, now_ms: int) -> dict[str, int]:
    starts = [first_quarter_ms(installed.window, now_ms) for installed in change.seeded]
    from_ms = min((start for start in starts if start is not None), default=None)
    rows = [] if from_ms is None else [row for page in store.rollups(tenant, from_ms) for row in page]
    seeded: dict[str, int] = {}
    for installed in change.seeded:
        seeded |= seed_rows(installed, rows, now_ms)
    return seeded


def _install(
    store: DynamoDBInstallationStore, tenant: str, wanted: Any, clock: Any, new_id: Any, *, seeds_first: bool
) -> bool:
    store.create_gauge(tenant)
    gauge = store.gauge(tenant)
    assert gauge is not None
    now_ms = clock()
    change = mark_unseeded(plan_change(gauge.layout, wanted), now_ms)
    if change.next.limits == gauge.layout.limits:
        return False
    seeded = _seeds(store, tenant, change, now_ms) if seeds_first else {}
    lease = Lease(new_id(), now_ms + _LOCK_MS)
    slots = {installed.slot for installed in change.seeded}
    leftover = [name for name in gauge.buckets if name[0] in slots]
    if not (store.begin(tenant, change.next, lease, gauge.lease) and store.clear(tenant, lease, leftover)):
        raise DeliverAgain("somebody else changes the limits")
    if not store.finish(tenant, change.next, lease, seeded):
        raise DeliverAgain("the lease is lost")
    if not seeds_first and (later := _seeds(store, tenant, change, now_ms)):
        names = {f"#{at}": name for at, name in enumerate(later)}
        store._client.update_item(
            TableName=TABLES.quotas,
            Key={"pk": text(tenant), "sk": text("GAUGE")},
            UpdateExpression="ADD " + ", ".join(f"#{at} :{at}" for at in range(len(later))),
            ExpressionAttributeNames=names,
            ExpressionAttributeValues={f":{at}": number(value) for at, value in enumerate(later.values())},
        )
    return True


def seed_then_install(store: Any, tenant: str, wanted: Any, *, clock: Any, new_id: Any) -> bool:
    return _install(store, tenant, wanted, clock, new_id, seeds_first=True)


def install_then_seed(store: Any, tenant: str, wanted: Any, *, clock: Any, new_id: Any) -> bool:
    return _install(store, tenant, wanted, clock, new_id, seeds_first=False)


@contextmanager
def _late_goes_with_its_slot() -> Iterator[None]:
    """A limit that goes takes its late buckets with it, reported or not."""
    with patch.object(installation, "without_reported", lambda layout, buckets: replace(layout, closing=())):
        yield


MUTANTS = (
    Design("ADD only", ingestion=_recording(AddOnly)),
    Design("marker then ADD", ingestion=_recording(MarkerThenAdd)),
    Design("ADD then marker", ingestion=_recording(AddThenMarker)),
    Design("lock around ADD", ingestion=_recording(LockAroundAdd)),
    Design("one marker per batch", ingestion=_recording(MarkerPerBatch)),
    Design("batch token as the guarantee", ingestion=_recording(BatchToken)),
    Design("whole batch dropped on a duplicate", ingestion=_recording(DropsBatch)),
    Design("ledger purged before its records stop coming", ingestion=_forgetful),
    Design("first twin wins", ingestion=_recording(FirstTwinWins)),
    Design("error record releases", ingestion=_recording(ErrorReleases)),
    Design("publish without outbox", worklist=_without_outbox),
    Design("old stream image overwrites a newer level", worklist=_old_images),
    Design("seed then install", install=seed_then_install),
    Design("install then seed", install=install_then_seed),
    Design("late usage goes with its slot", patched=_late_goes_with_its_slot),
    Design("swallowed record error", swallows=True),
    Design("failed delivery deleted when it is read", redrive=_deletes_first),
    Design("a rise is judged by hints only", reviews=False),
    *rating_mutants.MUTANTS,
    *boost_mutants.MUTANTS,
)
