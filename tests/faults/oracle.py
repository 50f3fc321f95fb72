"""Conservation: what must be true after every schedule, counted from the generated lines and not with our code.

The one thing that is taken from the tables is a choice that the design leaves open: of twins that differ in time or
owner, the one recorded first says where the call is counted. The oracle checks that the choice was one of them.
"""

import json
from collections import defaultdict
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any

from tests.faults.belief import levels
from tests.faults.installed import Installed, Sums, buckets_of, layout, origin, sums_of
from tests.faults.naive import QUARTER_MS, attribute
from tests.faults.ratings import is_rated, rated_anew
from tests.faults.schedules import DAY_MS, KINDS, Line, Schedule
from tests.faults.values import Item
from tests.faults.world import World, message_of

NOBODY = "unattributed"
ADMITTED_MS = 393 * DAY_MS
AHEAD_MS = 300_000
QUARANTINE_PREFIX = "quarantine/"
FURTHER = "more"


def check(world: World, imbalances: list[str]) -> list[str]:
    """Return what is not conserved, in words; nothing if all is exact."""
    found = [f"a report does not add up: {one}" for one in imbalances]
    found += _ledger(world)
    if not found:
        found += _rollups(world)
        found += [*_gauges(world), *_late(world)]
        found += rated_anew(world)
    found += _quarantine(world)
    if world.waiting:
        found.append(f"failure store: {world.waiting} deliveries are left")
    found += _published(world)
    found += levels(world)
    return found


def _is_admitted(line: Line, schedule: Schedule) -> bool | None:
    """Whether a line must be recorded; None where that depends on when it was read: dated ahead of its first delivery.

    Such a line is noted while it is too far ahead, and recorded when it comes again later.
    """
    if line.broken is not None or not (
        schedule.start_ms - ADMITTED_MS <= line.event_ms <= schedule.start_ms + 100 * DAY_MS
    ):
        return False
    sure_ms = schedule.first_ms[line.id] + AHEAD_MS - max(map(abs, schedule.skews_ms))
    return True if line.event_ms <= sure_ms else None


def _calls(schedule: Schedule, entries: Collection[str]) -> dict[str, list[Line]]:
    """The lines of each call that are recorded; those dated ahead if there is an entry, as they have no twins."""
    calls: dict[str, list[Line]] = defaultdict(list)
    for line in schedule.lines.values():
        admitted = _is_admitted(line, schedule)
        if admitted or (admitted is None and line.call in entries):
            calls[line.call].append(line)
    return calls


def _entries(world: World) -> list[Item]:
    """All entries in their last state, those that DynamoDB has forgotten meanwhile too."""
    written = [write for write in world.double.trace if write.table == "ledger" and write.after is not None]
    return list({write.key: write.after for write in written if write.after is not None}.values())


def _ledger(world: World) -> list[str]:
    found = []
    entries = {item["pk"]["S"].rpartition("#")[2]: item for item in _entries(world)}
    calls = _calls(world.schedule, entries)
    missing, extra = calls.keys() - entries.keys(), entries.keys() - calls.keys()
    if missing or extra:
        found.append(f"ledger: {len(missing)} calls missing, {len(extra)} too many")
    most_skew_ms = max(map(abs, world.schedule.skews_ms))
    found += [
        f"ledger: {write.key[0]} was recorded before its time"
        for write in world.double.trace
        if write.table == "ledger"
        and write.before is None
        and write.after is not None
        and int(write.after["event_ms"]["N"]) > write.at_ms + AHEAD_MS + most_skew_ms
    ]
    owners = {profile: {tenant} for tenant, all_of in world.schedule.tenants.items() for profile in all_of}
    for _, profile, tenant in world.schedule.mappings:
        owners.setdefault(profile, {NOBODY}).add(tenant)
    for call, lines in calls.items():
        item = entries.get(call)
        if item is None:
            continue
        good = [line for line in lines if line.error is None]
        counts = [max((line.counts[at] for line in good), default=0) for at in range(len(KINDS))]
        if [int(item[name]["N"]) for name in KINDS] != counts:
            found.append(f"ledger: {call} holds other counts than {counts}")
        if good and not is_rated(item):
            found.append(f"ledger: {call} costs something else than its counts say")
        if ("error" in item) == bool(good):
            found.append(f"ledger: {call} is a failure in the wrong way")
        if int(item["event_ms"]["N"]) not in {line.event_ms for line in lines}:
            found.append(f"ledger: {call} has a time of its own")
        if item["tenant"]["S"] not in owners.get(lines[0].profile, {NOBODY}):
            found.append(f"ledger: {call} belongs to {item['tenant']['S']}")
    return found


def _rollups(world: World) -> list[str]:
    expected: dict[tuple[str, str], Sums] = {}
    for item in _entries(world):
        quarter_ms = int(item["event_ms"]["N"]) // QUARTER_MS * QUARTER_MS
        label = datetime.fromtimestamp(quarter_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%MZ")
        key = item["tenant"]["S"], f"{label}#{item['profile']['S']}#{item['model']['S']}"
        held = expected.setdefault(key, sums_of(None))
        for name, amount in sums_of(item).items():
            held[name] += amount
    actual = {
        key: {name: int(item[name]["N"]) if name in item else 0 for name in sums_of(None)}
        for key, item in world.rows("usage").items()
    }
    if actual == expected:
        return []
    wrong = sorted(key for key in actual.keys() | expected.keys() if actual.get(key) != expected.get(key))
    return [f"roll-ups: {len(wrong)} of {len(expected)} differ, first {wrong[0]}"]


def _closed(world: World, tenant: str, installed: Installed, gauge: Item) -> Iterator[str]:
    """Closed calendar windows: what is there, late, pruned and reported as adjusted is all that was used."""
    if installed.window.sub_ms:
        return
    began, _, version = origin(world, tenant, installed)
    removed: dict[str, int] = defaultdict(int)
    for write in world.double.trace:
        if write.key == (tenant, "GAUGE") and write.sequence > began and write.before and write.after:
            for name in write.before.keys() - write.after.keys():
                if name[0] == installed.slot:
                    removed[name] += int(write.before[name]["N"])
    adjusted: dict[str, int] = defaultdict(int)
    for detail in {detail["event_id"]: detail for kind, detail in world.accepted if kind == "Usage Adjusted"}.values():
        limit = detail["limit"]
        is_same = (limit["meter"], limit["window"]) == (installed.meter, installed.window.text)
        if detail["tenant"] == tenant and is_same and limit["version"] >= version:
            by = detail["adjusted_by"]
            adjusted[detail["window_start"]] += by if isinstance(by, int) else int(Decimal(by).scaleb(9))
    for number, amount in buckets_of(world, tenant, installed).items():
        if installed.window.is_live(number, world.scheduler.now_ms):
            continue
        name = attribute(installed.slot, number)
        held = sum(int(gauge[one]["N"]) for one in (name, f"{name}+") if one in gauge)
        start = datetime.fromtimestamp(number * QUARTER_MS / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        if held + removed[name] + removed[f"{name}+"] != amount:
            yield f"gauge: {tenant} {installed.meter} {installed.window.text} from {start} does not add up to {amount}"
        if removed[f"{name}+"] != adjusted[start]:
            yield f"events: {tenant} {installed.window.text} from {start} was adjusted by something else"


def _late(world: World) -> Iterator[str]:
    """Late usage that left a gauge, with whatever slot, was reported: by tenant and start of the closed window."""
    left: dict[tuple[str, str], int] = defaultdict(int)
    for write in world.double.trace:
        if write.table == "quotas" and write.key[1] == "GAUGE" and write.before and write.after:
            for name in write.before.keys() - write.after.keys():
                if name.endswith("+"):
                    began = datetime.fromtimestamp(int(name[1:-1], 36) * QUARTER_MS / 1000, UTC)
                    left[write.key[0], began.strftime("%Y-%m-%dT%H:%M:%S.000Z")] += int(write.before[name]["N"])
    for kind, detail in {detail["event_id"]: (kind, detail) for kind, detail in world.accepted}.values():
        if kind == "Usage Adjusted":
            by = detail["adjusted_by"]
            amount = by if isinstance(by, int) else int(Decimal(by).scaleb(9))
            left[detail["tenant"], detail["window_start"]] -= amount
    for (tenant, start), amount in left.items():
        if amount:
            yield f"events: {amount} of late usage of {tenant} from {start} was never reported"


def _gauges(world: World) -> Iterator[str]:
    now_ms = world.scheduler.now_ms
    for tenant in world.schedule.tenants:
        gauge = world.rows("quotas").get((tenant, "GAUGE"))
        if gauge is None:
            continue
        if "lease" in gauge:
            yield f"gauge: {tenant} is still being changed"
        for installed in layout(gauge):
            yield from _closed(world, tenant, installed, gauge)
            expected = {
                attribute(installed.slot, number): amount
                for number, amount in buckets_of(world, tenant, installed).items()
                if amount and installed.window.is_live(number, now_ms)
            }
            if installed.meter == "cost_usd":
                expected |= {
                    attribute(installed.slot, number) + "-": amount
                    for number, amount in buckets_of(world, tenant, installed, "uncounted").items()
                    if amount and installed.window.is_live(number, now_ms)
                }
            for name, amount in expected.items():
                held = int(gauge[name]["N"]) if name in gauge else 0
                if held != amount:
                    yield f"gauge: {tenant} {installed.meter} {installed.window.text} {name} is {held}, not {amount}"
            for name, value in gauge.items():
                if name[0] == installed.slot and not name.endswith("+") and name not in expected and value["N"] != "0":
                    number = int(name[1:].removesuffix("-"), 36)
                    if installed.window.is_live(number, now_ms):
                        yield f"gauge: {tenant} {installed.window.text} {name} counts {value['N']} of nothing"


def _quarantine(world: World) -> list[str]:
    schedule = world.schedule
    recorded = {item["pk"]["S"].rpartition("#")[2] for item in _entries(world)}
    expected: set[tuple[str, str]] = set()
    possible: set[tuple[str, str]] = set()
    for line in schedule.lines.values():
        admitted = _is_admitted(line, schedule)
        note = sha256(message_of(line).encode()).hexdigest()[:32], line.id
        if admitted is None:
            (possible if line.call in recorded else expected).add(note)
        elif not admitted:
            expected.add(note)
    actual: set[tuple[str, str]] = set()
    covered: set[tuple[str, str]] = set()
    strays = 0
    for key, body in world.objects.items():
        if not key.startswith(QUARANTINE_PREFIX):
            continue
        if f"/{FURTHER}/" in key:
            behind = _behind(json.loads(body), schedule)
            covered |= behind
            strays += not behind
        else:
            digest, _, line_id = key.rpartition("/")[2].removesuffix(".json").partition("-")
            actual.add((digest, line_id))
    wrong = (actual - expected - possible) | (expected - actual - covered - possible)
    return [f"quarantine: {len(wrong) + strays} of {len(expected)} differ"] if wrong or strays else []


def _behind(note: dict[str, Any], schedule: Schedule) -> set[tuple[str, str]]:
    """Return the lines that a note for the rest of a delivery stands for; none where no delivery has such a rest.

    It names the first of them and how many there are, and is a hash of their hashes in their order.
    """
    for delivery in (*schedule.deliveries, *schedule.failed):
        verdicts = [(line, _is_admitted(line, schedule)) for line in delivery.lines]
        for rejected in ([one for one, said in verdicts if said is False], [one for one, said in verdicts if not said]):
            starts = [index for index, line in enumerate(rejected) if line.id == note["log_event_id"]]
            rest = rejected[starts[0] :] if starts else []
            hashes = [sha256(message_of(line).encode()).hexdigest() for line in rest]
            if len(rest) == note["records"] and sha256("".join(hashes).encode()).hexdigest() == note["sha256"]:
                return {(digest[:32], line.id) for digest, line in zip(hashes, rest, strict=True)}
    return set()


def _published(world: World) -> list[str]:
    found = []
    committed: set[str] = set()
    for write in world.double.trace:
        if write.table == "quotas" and write.after is not None:
            committed |= {name[4:] for name in write.after if name.startswith("out:")}
    received: dict[str, list[Any]] = defaultdict(list)
    for kind, detail in world.accepted:
        received[detail["event_id"]].append((kind, detail))
    lost = committed - received.keys()
    if lost:
        found.append(f"events: {len(lost)} committed and never published")
    for copies in received.values():
        # An announcement is forgotten after 30 days; a record that comes even later announces its day again.
        announced_again = copies[0][0] in {"Usage Unattributed", "Usage Unpriced"}
        differing = {"evaluated_at", "first_seen_at"} if announced_again else set()
        shown = [{name: value for name, value in detail.items() if name not in differing} for _, detail in copies]
        if any(one != shown[0] for one in shown):
            found.append("events: two copies under one id differ")
    sightings: dict[str, set[tuple[str, str]]] = {"Usage Unattributed": set(), "Usage Unpriced": set()}
    for (kind, detail), *_ in received.values():
        if kind in sightings:
            sightings[kind].add((detail["profile"], detail["day"]))
    announced = sightings["Usage Unattributed"]
    for item in _entries(world):
        if "error" not in item and "cost_nano_usd" not in item:
            day = datetime.fromtimestamp(int(item["event_ms"]["N"]) / 1000, UTC).strftime("%Y-%m-%d")
            if (item["profile"]["S"], day) not in sightings["Usage Unpriced"]:
                found.append(f"events: usage of {item['profile']['S']} on {day} without a price was never announced")
        if item["tenant"]["S"] == NOBODY and "error" not in item:
            day = datetime.fromtimestamp(int(item["event_ms"]["N"]) / 1000, UTC).strftime("%Y-%m-%d")
            if (item["profile"]["S"], day) not in announced:
                found.append(f"events: usage of {item['profile']['S']} on {day} was never announced")
    return found
