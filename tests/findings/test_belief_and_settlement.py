"""What a recorder believes, what settles a reservation, what becomes of late usage, and who holds how much."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from tests.findings.world import ACCOUNT, Findings, _context

MODEL = "anthropic.claude-sonnet-4-6"
OWN, SHARED = "a1c3m5e7k9q2", "s1h2a3r4e5d6"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/app"
CALLS = {"name": "calls", "meter": "requests", "window": "1d", "max": 1_000}
TOKENS = {"name": "tokens", "meter": "total_tokens", "window": "1d", "max": 10_000_000}
OPEN = {"name": "open", "meter": "open_reservations", "window": "1h", "max": 500}
RESERVATIONS = "/v1/tenants/acme/reservations"
HOUR_S, DAY_S = 3_600, 86_400
SOME = {"inputTokenCount": 1_000, "outputTokenCount": 5}


class Bus:
    """The event bus, and how many items the sweep makes the tables look at."""

    def __init__(self, stack: Findings) -> None:
        self.events: dict[str, dict[str, Any]] = {}
        self.looked_at: Counter[str] = Counter()
        self._stack = stack
        self._tables = stack.call
        stack.call = self._call  # type: ignore[method-assign]

    def _call(self, service: str, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        if service == "events":
            for entry in request["Entries"]:
                detail = json.loads(entry["Detail"])
                self.events[detail["event_id"]] = {"type": entry["DetailType"], **detail}
            return {"FailedEntryCount": 0, "Entries": [{"EventId": "e"} for _ in request["Entries"]]}
        answer = self._tables(service, operation, request)
        if operation in ("Scan", "Query"):
            self.looked_at[operation] += answer["ScannedCount"]
        elif operation == "BatchGetItem":
            self.looked_at[operation] += sum(len(found) for found in answer["Responses"].values())
        return answer

    def sweep(self, minutes: int = 61) -> None:
        """Run the sweep once a minute."""
        for _ in range(minutes):
            self._stack._handler("sweep")({}, _context())
            self._stack.later(60)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events.values() if event["type"] == kind]


@pytest.fixture
def bus(stack: Findings, monkeypatch: pytest.MonkeyPatch) -> Bus:
    monkeypatch.setenv("EVENT_BUS", "bus")
    return Bus(stack)


def tenant(stack: Findings, *limits: Mapping[str, object], model: str = MODEL, **more: object) -> None:
    profiles = [{"id": OWN, "model": model}]
    stack.tenant("acme", {"timezone": "UTC", "profiles": profiles, "limits": list(limits), **more})


def put(stack: Findings, name: str, *profiles: str) -> None:
    """Define a tenant, without any time passing."""
    path = f"/v1/admin/tenants/{name}"
    status, _ = stack.ask("GET", path, function="admin_api")
    condition: dict[str, Any] = {"if_match": "*"} if status == 200 else {"if_none_match": "*"}
    owned = [{"id": one, "model": MODEL} for one in profiles]
    body = {"timezone": "UTC", "profiles": owned, "limits": [CALLS]}
    status, said = stack.ask("PUT", path, body, function="admin_api", **condition)
    assert status == 200, said


def reserve(stack: Findings, key: str, **more: object) -> str:
    body = {"key": key, "model": MODEL, "estimate": {"input_tokens": 1_000, "output_tokens": 100}, **more}
    status, said = stack.ask("POST", RESERVATIONS, body)
    assert status == 201, said
    return str(said["id"])


def test_a_recorder_that_was_idle_for_an_hour_knows_the_first_principal(stack: Findings) -> None:
    """E7. It was warm before anybody mapped a principal; an hour is more than the minute that is documented."""
    stack.tenant("acme", {"timezone": "UTC", "limits": [CALLS]})
    by_role: dict[str, Any] = {
        "modelId": "amazon.nova-lite-v1:0",
        "identity": {"arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/app/session"},
    }
    stack.log(stack.record(OWN, SOME, **by_role))
    stack.tenant("acme", {"timezone": "UTC", "limits": [CALLS], "principals": [ROLE]})
    stack.later(HOUR_S)
    stack.log(stack.record(OWN, SOME, **by_role))
    assert stack.quota("acme", "calls")["used"] == 1


@pytest.mark.parametrize("ahead_s", [75, 200])
def test_a_record_dated_after_a_handover_is_the_new_owners(stack: Findings, ahead_s: int) -> None:
    """E12. The profile changes hands 70 s after it was decided; the record is delivered a second after that."""
    put(stack, "acme", SHARED)
    put(stack, "globex")
    stack.later(30)
    stack.log(stack.record(SHARED, SOME))
    put(stack, "acme")
    put(stack, "globex", SHARED)
    stack.later(1)
    stack.log(stack.record(SHARED, SOME, timestamp=stack.now_ms + ahead_s * 1_000))
    assert (stack.quota("acme", "calls")["used"], stack.quota("globex", "calls")["used"]) == (1, 1)


@pytest.mark.parametrize("change", ["zone", "anchor", "removed"])
def test_late_usage_is_reported_whatever_becomes_of_its_limit(stack: Findings, bus: Bus, change: str) -> None:
    """E13. What arrives when its calendar window is closed for good is in no reading: only the event tells of it."""
    before = {"name": "spend", "meter": "total_tokens", "window": "month", "max": 1_000_000}
    after = {"zone": [before], "anchor": [{**before, "window": "month@15"}], "removed": []}[change]
    tenant(stack, before)
    stack.log(stack.record(OWN, {"inputTokenCount": 5_000}, timestamp=stack.now_ms - 70 * DAY_S * 1_000))
    zone = {"timezone": "Asia/Tokyo"} if change == "zone" else {}
    tenant(stack, *after, **zone)
    bus.sweep()
    assert [event["adjusted_by"] for event in bus.of("Usage Adjusted")] == [5_000]


@pytest.mark.parametrize(
    ("model", "output"),
    [
        ("amazon.nova-canvas-v1:0", {"outputBodyJson": {"images": ["x"]}}),
        ("amazon.nova-canvas-v1:0", {}),
        ("cohere.rerank-v3-5:0", {}),
        ("amazon.titan-embed-image-v1", {}),
    ],
)
def test_a_call_without_tokens_settles_what_was_held_for_it(
    stack: Findings, model: str, output: Mapping[str, object]
) -> None:
    """E8. Images, ranks and embeddings of media: the log's record has no tokens, and there will be no other."""
    tenant(stack, CALLS, OPEN, model=model)
    held = reserve(stack, "k1", model=model, estimate={"cost_usd": "0.04"})
    stack.later(5)
    record = stack.record(OWN, {}, reservation=held, operation="InvokeModel")
    stack.log({**record, "output": {"outputTokenCount": 0, **output}})
    assert [(one["used"], one["reserved"]) for one in (stack.quota("acme", "calls"), stack.quota("acme", "open"))] == [
        (1, 0),
        (0, 0),
    ]
    assert stack.ask("GET", f"{RESERVATIONS}/{held}")[1]["status"] == "settled"


@pytest.mark.parametrize("more", [{"input_tokens": 0}, {}, {"cost_usd": "0"}])
def test_an_estimate_of_nothing_is_refused(stack: Findings, more: Mapping[str, object]) -> None:
    """M3. It would hold nothing, and be an item for 25 hours."""
    tenant(stack, CALLS)
    status, said = stack.ask("POST", RESERVATIONS, {"key": "k1", "estimate": {"requests": 0, **more}})
    assert status == 400, said
    assert said["detail"].startswith("estimate: ")


def test_a_lease_is_not_held_for_ever(stack: Findings) -> None:
    """M3. Renewed each half hour: other users of the tenant would never get what it holds."""
    tenant(stack, CALLS)
    lease = reserve(stack, "k1", kind="lease", ttl_seconds=HOUR_S)
    renewed, status = 0, 0
    said: Any = None
    for _ in range(100):
        stack.later(HOUR_S / 2)
        body = {"usage": {"requests": 1}, "extend_seconds": HOUR_S}
        status, said = stack.ask("POST", f"{RESERVATIONS}/{lease}/settlement", body)
        if status != 200:
            break
        renewed += 1
    assert 40 <= renewed < 50, "a day, and no more"
    assert (status, said["field"]) == (400, "extend_seconds")
    stack.later(HOUR_S)
    assert stack.ask("GET", f"{RESERVATIONS}/{lease}")[1]["status"] == "expired"


def test_the_sweep_looks_at_no_reservation(stack: Findings, bus: Bus) -> None:
    """M3. What it looks at in an hour grows with tenants, not with what they have reserved."""
    tenant(stack, CALLS)
    bus.sweep()
    bus.looked_at.clear()
    bus.sweep()
    alone = bus.looked_at.total()
    for number in range(400):
        reserve(stack, f"k{number}", ttl_seconds=10)
    bus.sweep()
    bus.looked_at.clear()
    bus.sweep()
    assert bus.looked_at.total() <= alone + 5


def test_a_second_call_under_one_reservation_is_told(stack: Findings, bus: Bus) -> None:
    """M5. A tenant that reserves every call: one id of a small reservation covered any number of calls."""
    tenant(stack, TOKENS, reserves=True)
    held = reserve(stack, "k1")
    first = stack.record(OWN, SOME, reservation=held)
    stack.log(first)
    stack.log(first, {**first, "output": {"outputTokenCount": 9}})
    bus.sweep(2)
    assert bus.of("Unreserved Usage Detected") == [], "a redelivery and a twin are the same call"
    stack.log(stack.record(OWN, SOME, reservation=held))
    bus.sweep(2)
    assert [(one["reason"], one["reservation"]) for one in bus.of("Unreserved Usage Detected")] == [("reused", held)]


def test_usage_far_above_what_was_held_is_told_with_how_far(stack: Findings, bus: Bus) -> None:
    """M5. One token was held, a million were used."""
    tenant(stack, TOKENS, reserves=True)
    held = reserve(stack, "k1", estimate={"input_tokens": 1})
    stack.log(stack.record(OWN, {"inputTokenCount": 1_000_000}, reservation=held))
    bus.sweep(2)
    (event,) = bus.of("Unreserved Usage Detected") or [{}]
    assert (event.get("reason"), event.get("above")) == (
        "above",
        {"limit": "tokens", "meter": "total_tokens", "held": 1, "used": 1_000_000},
    )
