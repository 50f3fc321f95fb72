"""What others wrote into the log: believed by nobody, bounded in what it costs, taken back where it was believed."""

import base64
import gzip
import itertools
import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest

from bedrock_meter.cli.main import execute
from tests.findings.services import RECORDER, STACK, Services
from tests.findings.world import ACCOUNT, REGION, Findings

OWN = "a1c3m5e7k9q2"
FOREIGN = "999999999999"
STREAM = "aws/bedrock/modelinvocations"
TOKENS = {"name": "tokens", "meter": "total_tokens", "window": "31d", "max": 20_000_000}
PLACE = f"AWSLogs/{ACCOUNT}/BedrockModelInvocationLogs/{REGION}/2026/11/18/00/x.json.gz"
DAY_S = 86_400


@pytest.fixture
def services(stack: Findings, monkeypatch: pytest.MonkeyPatch) -> Services:
    made = Services(stack, monkeypatch)
    stack.tenant("acme", {"timezone": "UTC", "profiles": [{"id": OWN, "model": "-"}], "limits": [TOKENS]})
    return made


def used(stack: Findings) -> int:
    found: int = stack.quota("acme", "tokens")["used"]
    return found


def record(stack: Findings, tokens: int = 1_000, **more: Any) -> dict[str, Any]:
    return stack.record(OWN, {"inputTokenCount": tokens}, **more)


# --- H1: whoever may write logs charges any tenant

FORGERIES: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "another account": ({"accountId": FOREIGN}, {}),
    "another Region": ({"region": "eu-central-1"}, {}),
    "more than a call can have": ({"input": {"inputTokenCount": 2**53}}, {}),
    "more to the cache than a call can have": ({"input": {"cacheWriteInputTokenCount": 10_000_001}}, {}),
    "another stream": ({}, {"logStream": "2026/11/28/[$LATEST]0123"}),
    "a stream named like an object": ({}, {"logStream": PLACE}),
    "an envelope of another account": ({"accountId": FOREIGN}, {"owner": FOREIGN}),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_what_bedrock_did_not_write_charges_nobody_and_is_told(
    forgery: str, services: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    stack = services.stack
    more, envelope = FORGERIES[forgery]
    stack.log(record(stack), record(stack, **more), **envelope)
    # A record beside it in Bedrock's own stream and envelope counts.
    assert used(stack) == (0 if envelope else 1_000)
    doubted = [one["reason"] for one in services.notes()]
    assert len(set(doubted)) == 1
    assert len(doubted) == (2 if envelope else 1)
    assert '"RecordsDoubted"' in capsys.readouterr().out, "a metric, for an alarm"


def test_each_doubt_has_a_reason_of_its_own(services: Services) -> None:
    stack = services.stack
    for more, envelope in FORGERIES.values():
        stack.log(record(stack, **more), **envelope)
    assert len({one["reason"] for one in services.notes()}) == 4
    assert used(stack) == 0


@pytest.mark.parametrize("forgery", ["another account", "another Region", "more than a call can have"])
def test_an_object_of_the_log_is_doubted_as_well(forgery: str, services: Services) -> None:
    stack = services.stack
    lines = [json.dumps(one) for one in (record(stack), record(stack, **FORGERIES[forgery][0]))]
    services.objects[f"logs/{PLACE}"] = gzip.compress("\n".join(lines).encode())
    message = {"messageId": "m", "body": json.dumps({"detail": {"bucket": {"name": "logs"}, "object": {"key": PLACE}}})}
    assert stack.invoke("record_objects", {"Records": [message]}) == {"batchItemFailures": []}
    assert used(stack) == 1_000


def test_an_object_below_another_accounts_folder_is_doubted(services: Services) -> None:
    stack = services.stack
    key = PLACE.replace(ACCOUNT, FOREIGN)
    lines = [json.dumps(one) for one in (record(stack), record(stack, accountId=FOREIGN))]
    services.objects[f"logs/{key}"] = gzip.compress("\n".join(lines).encode())
    message = {"messageId": "m", "body": json.dumps({"detail": {"bucket": {"name": "logs"}, "object": {"key": key}}})}
    stack.invoke("record_objects", {"Records": [message]})
    assert used(stack) == 0


def failed(services: Services, event: dict[str, Any], name: str = "x") -> str:
    """Leave a delivery in the failure store as Lambda does."""
    arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{RECORDER}:$LATEST"
    key = f"failures/aws/lambda/async/{RECORDER}/2026/11/18/{name}"
    document = {"requestContext": {"functionArn": arn}, "requestPayload": event}
    services.objects[key] = json.dumps(document).encode()
    return key


def test_a_failed_delivery_is_doubted_when_it_is_taken_in_again(services: Services) -> None:
    stack = services.stack
    forged = [record(stack, accountId=FOREIGN), record(stack, input={"inputTokenCount": 2**53})]
    failed(services, stack.delivery(record(stack), *forged))
    failed(services, stack.delivery(record(stack), logStream="another"), "y")
    stack.invoke("redrive_failures", {})
    assert (used(stack), services.keys("aws/")) == (1_000, [])


def logged(services: Services, *records: dict[str, Any] | str, stream: str = STREAM) -> dict[str, Any]:
    """Write into the log group; returns the delivery that comes of it."""
    event = services.stack.delivery(*records, logStream=stream)
    payload = json.loads(gzip.decompress(base64.b64decode(event["awslogs"]["data"])))
    services.log += [(one["timestamp"], stream, one["id"], one["message"]) for one in payload["logEvents"]]
    return event


def test_a_backfill_doubts_what_it_reads(services: Services) -> None:
    stack = services.stack
    logged(services, record(stack), record(stack, accountId=FOREIGN))
    logged(services, record(stack), stream="another")
    stack.later(600)
    assert execute(["backfill", "--from", iso(stack, 900), "--to", iso(stack, 60), "--stack", STACK]) == 0
    assert used(stack) == 1_000


def iso(stack: Findings, ago_s: int) -> str:
    return datetime.fromtimestamp(stack.now_ms / 1_000 - ago_s, UTC).isoformat()


# --- taking back what was believed


def taken_back(*words: str) -> int:
    return execute(["usage", "remove", *words, "--stack", STACK])


def test_usage_of_one_call_is_taken_back_once_and_stays_away(
    services: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    stack = services.stack
    forged = record(stack, 9_000_000)
    stack.log(record(stack), forged)
    assert used(stack) == 9_001_000
    key = f"{ACCOUNT}#{REGION}#{forged['requestId']}"
    assert taken_back(key) == 4, "it asks first"
    assert taken_back(key, "--dry-run") == 0
    assert used(stack) == 9_001_000
    for _ in range(2):
        assert taken_back(key, "--yes", "--reason", "forged") == 0
        assert used(stack) == 1_000
    stack.log(forged)
    stack.log({**forged, "output": {"outputTokenCount": 500}})
    assert used(stack) == 1_000
    status, said = stack.ask("GET", "/v1/admin/tenants/acme/audit", function="admin_api")
    assert status == 200
    assert "forged" in json.dumps(said)
    capsys.readouterr()
    assert execute(["rebuild", "--stack", STACK]) == 0, "sums are what the ledger adds up to"


def test_usage_is_found_by_its_request_id_where_that_is_enough(
    services: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    stack = services.stack
    stack.log(record(stack, 5_000, requestId="twice"), record(stack, requestId="once"))
    services.settings["LOG_REGIONS"] = f"{REGION},eu-west-1"
    other = {"key": f"{ACCOUNT}#eu-west-1#twice"}
    ledger = stack.double.tables["ledger"].items
    (item,) = [dict(one) for one in ledger.values() if one["pk"]["S"].endswith("#twice")]
    stack.double.call("PutItem", {"TableName": "ledger", "Item": {**item, "pk": {"S": other["key"]}}})
    assert taken_back("once", "--yes") == 0
    assert used(stack) == 5_000
    capsys.readouterr()
    assert taken_back("twice", "--yes") == 2
    said = capsys.readouterr().err
    assert other["key"] in said
    assert f"{ACCOUNT}#{REGION}#twice" in said
    assert taken_back("nobodys", "--yes") == 2
    assert used(stack) == 5_000


# --- M7: garbage lines


def test_a_delivery_of_garbage_costs_some_notes_and_none_is_forgotten(services: Services) -> None:
    stack = services.stack
    stack.log(*[f"garbage {number}" for number in range(2_000)])
    assert services.puts <= 200
    assert sum(one.get("records", 1) for one in services.notes()) == 2_000


def test_an_object_of_garbage_costs_some_notes_and_none_is_forgotten(services: Services) -> None:
    stack = services.stack
    services.objects[f"logs/{PLACE}"] = "\n".join(f"garbage {number}" for number in range(2_000)).encode()
    message = {"messageId": "m", "body": json.dumps({"detail": {"bucket": {"name": "logs"}, "object": {"key": PLACE}}})}
    stack.invoke("record_objects", {"Records": [message]})
    assert services.puts <= 200
    assert sum(one.get("records", 1) for one in services.notes()) == 2_000


def test_notes_are_written_while_there_is_time(services: Services) -> None:
    stack = services.stack
    left = itertools.chain(range(6_000, 0, -500), itertools.repeat(0))
    event = stack.delivery(*[f"garbage {number}" for number in range(50)])
    stack.invoke("record_usage", event, lambda: next(left))
    assert services.puts < 20
    assert sum(one.get("records", 1) for one in services.notes()) == 50


def test_lines_behind_one_note_are_found_again(services: Services) -> None:
    """The stretch of one note is read again, each line then gets what it deserves."""
    stack = services.stack
    lines = [f"garbage {number}" for number in range(150)]
    ahead = [record(stack, timestamp=stack.now_ms + 3_600_000) for _ in range(50)]
    stack.invoke("record_usage", logged(services, *lines, *ahead))
    assert len(services.notes()) < 200, "some of them share a note"
    stack.later(2 * 3_600)
    for _ in range(2):
        assert execute(["quarantine", "redrive", "--stack", STACK]) == 0
        assert used(stack) == 50_000
    assert sum(one.get("records", 1) for one in services.notes()) == 150
    assert {one.get("records", 1) for one in services.notes()} == {1}


class Killed(BaseException):
    """The function's time is up: nothing that it would have done comes after this."""


def test_a_delivery_that_takes_all_the_time_is_given_up_in_the_end(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = services.stack
    failed(services, stack.delivery(record(stack)))

    def killed(*_: Any) -> Any:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(stack.double, "call", killed)
        for _ in range(12):
            with pytest.raises(Killed):
                stack.invoke("redrive_failures", {})
        with suppress(Killed):
            stack.invoke("redrive_failures", {})
    assert services.keys("aws/lambda/async/") == []
    assert len(services.keys("aws/lambda/parked/")) == 1


# --- E10: an attempt that failed leaves the next one what it needs


def test_quarantine_is_read_again_after_an_attempt_that_failed(services: Services) -> None:
    stack = services.stack
    old = record(stack, timestamp=stack.now_ms - 450 * DAY_S * 1_000)
    stack.invoke("record_usage", logged(services, old))
    assert len(services.notes()) == 1
    stack.later(DAY_S)
    assert execute(["quarantine", "redrive", "--stack", STACK]) == 0
    assert len(services.notes()) == 1
    services.settings["LEDGER_RETENTION_DAYS"] = "900"
    stack.later(DAY_S)
    assert execute(["quarantine", "redrive", "--stack", STACK]) == 0
    assert services.notes() == [], "it counts now, and its note says nothing any more"


def test_a_stream_named_like_an_object_does_not_stop_a_redrive(services: Services) -> None:
    """Whoever may make a log stream names it."""
    stack = services.stack
    stack.invoke("record_usage", logged(services, "garbage", stream=PLACE))
    assert execute(["quarantine", "redrive", "--stack", STACK]) == 0
    assert [one["reason"] for one in services.notes()] == ["not_json"]
