"""Hostile input through the deployed handlers, a canary in each prompt and completion; then it is searched everywhere.

The handlers of ``functions/`` run as they are, over the doubles: their loggers and metrics write to the real standard
output, at level DEBUG. One line in ten is poison. A delivery fails and comes back through the failure store, another
one is left there: that is the one place where the canary may be, because Lambda keeps the event whole.

``python -m tests.faults.canary`` prints what the doubles hold in the end as JSON, after all that the handlers printed;
``search`` runs it in a process of its own and reads both.
"""

import base64
import gzip
import importlib.util
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bedrock_meter import clock
from bedrock_meter.storage import dynamodb
from bedrock_meter.usage.recorder import LAST_CALL_MS
from tests.doubles.failures import FUNCTION, failed_delivery, failure_key
from tests.faults.faults import NoFaults
from tests.faults.schedules import Ceiling, Line, Schedule
from tests.faults.simulation import Simulation
from tests.faults.wire import SETTINGS
from tests.faults.world import BUCKET, FAILURES_PREFIX, TABLES, World, message_of, simulated_sleep

CANARY = "CANARY-5b1e"
GOOD = 270
"""Sound records of owned profiles; nine for each line of poison, and one of them a megabyte long."""

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {
    **SETTINGS,
    "LEDGER_TABLE": TABLES.ledger,
    "USAGE_TABLE": TABLES.usage,
    "QUOTAS_TABLE": TABLES.quotas,
    "TENANTS_TABLE": TABLES.tenants,
    "EVENT_BUS": "bus",
    "FAILURE_BUCKET": BUCKET,
    "RECORD_USAGE_FUNCTION": FUNCTION,
    "LEDGER_RETENTION_DAYS": "400",
    "LOG_ACCOUNTS": "123456789012",
    "LOG_REGIONS": "us-east-1",
    "LOG_STREAMS": "aws/bedrock/modelinvocations",
    "MAXIMUM_CALL_TOKENS": "10000000",
    "POWERTOOLS_SERVICE_NAME": "canary",
    "POWERTOOLS_METRICS_NAMESPACE": "BedrockMeter",
    "POWERTOOLS_LOG_LEVEL": "DEBUG",
    "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'layers' / 'bedrock_meter'}",
}
_MARK = "=== what the doubles hold ==="
_OUTAGE = "=== from here on deliveries fail ==="


@dataclass(frozen=True)
class Searched:
    """What was searched, how much of it there was, and how often the canary was in it.

    Attributes:
        places: By place: (how many things were searched, how many of them hold the canary).
        kept: Objects of the failure store, and how many of them hold it: all.
        good: Sound records that were sent; ``counted``: those that are in the ledger.
        read: Records that the recorder says it has read while every delivery was completed; ``accounted``: the sum of
            what it says became of them.
    """

    places: dict[str, tuple[int, int]]
    kept: tuple[int, int]
    good: int
    counted: int
    read: int
    accounted: int

    @property
    def problems(self) -> list[str]:
        """What is not as it should be."""
        found = [f"the canary is in {hits} of {size} {place}" for place, (size, hits) in self.places.items() if hits]
        found += [f"there are no {place}: nothing was searched" for place, (size, _) in self.places.items() if not size]
        if not self.kept[0] or self.kept[0] != self.kept[1]:
            found.append(f"{self.kept[1]} of {self.kept[0]} failed deliveries are whole")
        if self.good != self.counted:
            found.append(f"{self.counted} of {self.good} sound records are counted")
        if self.read != self.accounted:
            found.append(f"{self.read} records were read, {self.accounted} accounted for")
        return found


def search() -> Searched:
    """Run everything in a process of its own, and search its output and what it left behind."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "POWERTOOLS_"))}
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.canary"],
        cwd=ROOT,
        env={**kept, **ENVIRONMENT},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise AssertionError(f"the canary's process ended with {done.returncode}: {done.stderr[-2000:]}")
    printed, _, document = done.stdout.partition(_MARK)
    held = json.loads(document)
    lines = [*printed.splitlines(), *done.stderr.splitlines()]
    metrics = [line for line in lines if '"_aws"' in line]
    objects: dict[str, str] = held["objects"]
    failures = [content for key, content in objects.items() if key.startswith(FAILURES_PREFIX)]
    others = [key + content for key, content in objects.items() if not key.startswith(FAILURES_PREFIX)]
    counters: dict[str, int] = {}
    before_outage = printed.partition(_OUTAGE)[0].splitlines()
    for line in (one for one in before_outage if one in metrics):
        for name, value in json.loads(line).items():
            if name.startswith("Records"):
                counters[name] = counters.get(name, 0) + int(sum(value) if isinstance(value, list) else value)
    ends = ("RecordsRecorded", "RecordsDuplicate", "RecordsFailed", "RecordsQuarantined")
    return Searched(
        places={
            "log lines": found([line for line in lines if line not in metrics]),
            "metrics": found(metrics),
            "items": found(held["items"]),
            "events": found(held["events"]),
            "notes of the quarantine": found(others),
        },
        kept=found([base64.b64decode(json.loads(one)["requestPayload"]["awslogs"]["data"]) for one in failures]),
        good=held["good"],
        counted=sum(_call_of(item).startswith(GOOD_PREFIX) for item in held["items"]),
        read=counters["RecordsRead"],
        accounted=sum(counters[name] for name in ends),
    )


GOOD_PREFIX = "good-"


def _call_of(item: str) -> str:
    key: str = json.loads(item).get("pk", {}).get("S", "")
    return key.rpartition("#")[2]


def found(things: list[Any]) -> tuple[int, int]:
    """How many things there are, and how many of them hold the canary; bytes are gzip."""
    shown = [gzip.decompress(one).decode() if isinstance(one, bytes) else one for one in things]
    return len(shown), sum(CANARY in one for one in shown)


def _record(call: str, **changes: Any) -> dict[str, Any]:
    """A sound record with the canary in both bodies."""
    profile = changes.pop("profile", "profile0")
    record = json.loads(message_of(Line(call, call, profile, clock.now_ms() - 1_000, (30, 20, 0, 0))))
    record["input"]["inputBodyJson"] = {"messages": [{"role": "user", "content": [{"text": CANARY}]}]}
    record["output"]["outputBodyJson"] = [{"text": CANARY, "inputTokenCount": 999}]
    return {**record, **changes}


def _counted(call: str, value: str) -> str:
    """A record whose count is spelled in a way that is none."""
    return json.dumps(_record(call)).replace('"inputTokenCount": 30', f'"inputTokenCount": {value}')


def poison() -> Iterator[str]:
    """Lines that are wrong in every way that we know, each with the canary in it."""
    sound = json.dumps(_record("p0"))
    yield CANARY
    yield sound[:-1]
    yield sound[: len(sound) // 2]
    yield json.dumps([CANARY])
    yield json.dumps(CANARY)
    for spelled in ("NaN", "Infinity", "-Infinity", "1e400", "-1", "1.5", '"30"', "true", "[30]", "9" * 40):
        yield _counted("p1", spelled)
    for name, value in (
        ("accountId", CANARY),
        ("region", f"{CANARY}\n"),
        ("requestId", f"line\n{CANARY}"),
        ("requestId", "control\x00\x1b[2J"),
        ("requestId", ["list", CANARY]),
        ("requestId", "lone \ud83d"),
        ("modelId", ""),
        ("timestamp", CANARY),
        ("timestamp", 10**30),
        ("schemaType", CANARY),
        ("input", CANARY),
    ):
        yield json.dumps(_record("p2", **{name: value}))
    yield json.dumps(_record("p3")).replace(f'"{CANARY}"', "[" * 100_000 + f'"{CANARY}"' + "]" * 100_000, 1)
    yield json.dumps(_record("p4")).replace(CANARY, CANARY + "\\ud83d" + "x" * 1_000_000, 1)[:-1]
    yield "\x00" * 50 + CANARY


def payload(lines: list[str]) -> bytes:
    """What a subscription delivers of these lines."""
    envelope = {
        "messageType": "DATA_MESSAGE",
        "owner": "123456789012",
        "logGroup": "/bedrock/invocations",
        "logStream": "aws/bedrock/modelinvocations",
        "subscriptionFilters": ["meter"],
        "logEvents": [{"id": f"{at}", "timestamp": clock.now_ms(), "message": line} for at, line in enumerate(lines)],
    }
    return gzip.compress(json.dumps(envelope).encode(), 1)


def _event(payload: bytes) -> dict[str, Any]:
    return {"awslogs": {"data": base64.b64encode(payload).decode()}}


def _damaged() -> Iterator[dict[str, Any]]:
    """Whole deliveries that cannot be opened."""
    sound = payload([json.dumps(_record("d0"))])
    yield _event(sound[:-9])
    yield _event(sound[:40])
    yield _event(CANARY.encode())
    yield _event(gzip.compress(CANARY.encode()))
    yield _event(gzip.compress(b'{"logEvents": [{"message": "' + CANARY.encode() + b" " * (80 << 20), 1))
    yield {"awslogs": {"data": f"!{CANARY}"}}
    yield {"awslogs": {"data": [CANARY]}}
    yield {"awslogs": CANARY}
    yield {"Records": [{"body": CANARY}]}


class _Functions:
    """The handlers, loaded from their files over a world; what one raises is printed as Lambda's runtime prints it."""

    def __init__(self, world: World) -> None:
        def client(service: str = "dynamodb", config: Any = None, *, is_quick: bool = False) -> Any:
            return world.client(service)

        dynamodb.client, dynamodb.connection = client, lambda **_: world.client("dynamodb")
        self.ends_ms = 0
        self._context = SimpleNamespace(
            function_name="canary",
            function_version="$LATEST",
            memory_limit_in_mb=1024,
            invoked_function_arn="arn:aws:lambda:us-east-1:123456789012:function:canary",
            aws_request_id="c0ffee",
            get_remaining_time_in_millis=lambda: self.ends_ms - clock.now_ms(),
        )
        self._handlers = {
            name: _load(name) for name in ("record_usage", "redrive_failures", "evaluate_quotas", "sweep")
        }

    def __call__(self, name: str, event: dict[str, Any] | None = None, *, remaining_ms: int = 60_000) -> bool:
        """Invoke one; False if it failed."""
        self.ends_ms = clock.now_ms() + remaining_ms
        try:
            self._handlers[name](event or {}, self._context)
        except Exception:  # noqa: BLE001 - what the runtime of Lambda does with it
            traceback.print_exc()
            return False
        return True


def _load(name: str) -> Callable[[dict[str, Any], Any], Any]:
    spec = importlib.util.spec_from_file_location(f"canary_{name}", ROOT / "functions" / name / "handler.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    loaded: Callable[[dict[str, Any], Any], Any] = module.handler
    return loaded


def _world() -> World:
    schedule = Schedule(
        seed=0,
        start_ms=clock.now_ms(),
        zone="UTC",
        tenants={"t0": ("profile0",), "t1": ("profile1",)},
        limits={"t0": (Ceiling("total_tokens", "1d", 100),), "t1": (Ceiling("requests", "month", 5, True),)},
        deliveries=(),
    )
    simulation = Simulation(schedule, wrong=NoFaults())
    return simulation.world


def main() -> int:
    """Play everything, then print what the doubles hold."""
    world = _world()
    with simulated_sleep(world.scheduler.sleep):
        function = _Functions(world)
        _play(world, function)
    items = [
        json.dumps(item) for name in ("ledger", "usage", "quotas", "tenants") for item in world.rows(name).values()
    ]
    print(
        _MARK,
        json.dumps(
            {
                "items": items,
                "events": [json.dumps(one) for one in world.accepted],
                "objects": {key: content.decode() for key, content in world.objects.items()},
                "good": GOOD + len(_ODD_NAMES),
            }
        ),
    )
    return 0


_ODD_NAMES = ("a#b", "a/b/c#d", "x" * 1_500, "%2F%23", "OUTBOX#2026")
"""Model ids that could break a key apart; such calls are counted, without a tenant."""


def _play(world: World, function: _Functions) -> None:
    good = [json.dumps(_record(f"{GOOD_PREFIX}{at}", profile=f"profile{at % 2}")) for at in range(GOOD)]
    good[0] = good[0].replace(CANARY, CANARY + "x" * 1_000_000, 1)
    good += [json.dumps(_record(f"{GOOD_PREFIX}odd{at}", modelId=name)) for at, name in enumerate(_ODD_NAMES)]
    poisoned = list(poison())
    # One in ten is poison.
    mixed = [line for at, bad in enumerate(poisoned) for line in (bad, *good[9 * at : 9 * at + 9])]
    mixed += good[9 * len(poisoned) :]
    for start in range(0, len(mixed), 60):
        assert function("record_usage", _event(payload(mixed[start : start + 60])))
    for event in _damaged():
        assert function("record_usage", event)
    _hints(world, function)
    # A delivery fails with DynamoDB, is given up, fails once more in the redrive, and comes back.
    late = _event(payload([json.dumps(_record("late")), CANARY]))
    print(_OUTAGE)
    world.outage_ms = 0, 2 * world.scheduler.now_ms
    assert not function("record_usage", late, remaining_ms=LAST_CALL_MS + 300)
    _keep(world, late)
    function("redrive_failures")
    assert not function("sweep")
    world.outage_ms = None
    function("redrive_failures")
    assert world.waiting == 0
    _hints(world, function)
    assert function("sweep")
    _keep(world, late)


def _keep(world: World, event: dict[str, Any]) -> None:
    """Put a delivery where Lambda puts those that it gave up on."""
    world.objects[failure_key(len(world.objects))] = failed_delivery(event)


def _hints(world: World, function: _Functions) -> None:
    records = [
        {"dynamodb": {"Keys": {"pk": {"S": tenant}, "sk": {"S": sort_key}}, "SequenceNumber": str(at)}}
        for at, (tenant, sort_key, _) in enumerate(world.stream)
    ]
    assert function("evaluate_quotas", {"Records": records})


if __name__ == "__main__":
    sys.exit(main())
