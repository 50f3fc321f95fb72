"""Records through the log group of a deployed stack, and what comes out."""

import gzip
import json
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from bedrock_meter.local.project import Project
from tests.e2e.conftest import Command, Up
from tests.e2e.naive import count, messages, without_limits

ARN = "arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/"


def owners_of(tenants: list[dict[str, Any]]) -> dict[str, str]:
    return {
        (profile if isinstance(profile, str) else profile["id"]).rpartition("/")[2]: tenant["id"]
        for tenant in tenants
        for profile in tenant.get("profiles") or []
    }


def models_of(tenants: list[dict[str, Any]]) -> dict[str, str]:
    return {
        profile["id"].rpartition("/")[2]: profile["model"]
        for tenant in tenants
        for profile in tenant.get("profiles") or []
        if isinstance(profile, dict) and "model" in profile
    }


def record(request: str, profile: str, *, second: int = 0, **changes: Any) -> dict[str, Any]:
    return {
        "schemaType": "ModelInvocationLog",
        "schemaVersion": "1.0",
        "timestamp": f"2026-03-01T10:{second // 60:02d}:{second % 60:02d}Z",
        "accountId": "123456789012",
        "region": "eu-central-1",
        "requestId": request,
        "operation": "Converse",
        "modelId": ARN + profile,
        "input": {"inputTokenCount": 100, "cacheReadInputTokenCount": 7, "inputBodyJson": {"text": "}{"}},
        "output": {"outputTokenCount": 11},
        **changes,
    }


def error(request: str, profile: str) -> dict[str, Any]:
    failed = record(request, profile, errorCode="ThrottlingException")
    del failed["input"], failed["output"]
    return failed


def write_lines(file: Path, values: list[Any]) -> Path:
    file.write_text("".join((value if isinstance(value, str) else json.dumps(value)) + "\n" for value in values))
    return file


def test_the_sample_events_equal_sums_counted_independently(fresh: Command, project: Project) -> None:
    document = fresh.replay(project.samples)
    tenants = yaml.safe_load((project.samples / "tenants.yaml").read_text())["tenants"]
    names = [tenant["id"] for tenant in tenants]
    wanted = count(messages(project.samples), owners_of(tenants), names, models_of(tenants))
    assert without_limits(document) == wanted
    assert wanted["read"] > 0
    kinds = {event["detail-type"] for event in document["events"]}
    assert {"Tenant Throttled", "Quota Threshold Crossed", "Usage Unattributed", "Usage Unpriced"} <= kinds
    assert len({event["id"] for event in document["events"]}) == len(document["events"])
    (dollars,) = (one["detail"] for one in document["events"] if one["detail"].get("limit", {}).get("unit") == "USD")
    (claude,) = (one for one in document["tenants"]["acme"]["limits"] if one["unit"] == "USD")
    assert (dollars["tenant"], dollars["used"], dollars["limit"]["max"]) == ("acme", claude["used"], "0.19")
    assert claude["used"] == wanted["tenants"]["acme"]["cost_usd"], "all that acme uses is of Claude"
    (spent,) = (one for one in document["tenants"]["umbrella"]["limits"] if one["unit"] == "USD")
    assert (spent["used"], spent["complete"]) == (wanted["tenants"]["umbrella"]["cost_usd"], False)


def test_the_same_events_three_times_and_shuffled_change_nothing(served: Command, tmp_path: Path) -> None:
    tenants = tmp_path / "tenants.yaml"
    tenants.write_text(
        "tenants:\n"
        "  - {id: twice, profiles: [twice0000001], limits: [{meter: total_tokens, window: month, max: 100000}]}\n"
        "  - {id: thrice, profiles: [thrice000001], limits: [{meter: requests, window: 7d, max: 50, hard: true}]}\n"
    )
    own = [record(f"twice-{n}", "twice0000001", second=n) for n in range(60)]
    other = [record(f"thrice-{n}", "thrice000001", second=n * 3) for n in range(60)]
    failed = [error(f"failed-{n}", "thrice000001") for n in range(5)]
    empty_twins = [record(f"twice-{n}", "twice0000001", second=n, input={}, output={}) for n in range(0, 60, 7)]
    failed_twins = [error(f"thrice-{n}", "thrice000001") for n in range(0, 60, 11)]
    strange = [record(f"strange-{n}", f"strange{n:05d}") for n in range(3)]
    everything = [*own, *other, *failed, *empty_twins, *failed_twins, *strange]
    chance = random.Random(7)
    seen: list[dict[str, Any]] = []
    for turn in range(3):
        chance.shuffle(everything)
        file = tmp_path / f"{turn}.jsonl.gz"
        file.write_bytes(gzip.compress("\n".join(json.dumps(one) for one in everything).encode()))
        seen.append(served.replay("--time", "flat", "--tenants", tenants, file))
    first, *later = seen
    owners = {"twice0000001": "twice", "thrice000001": "thrice"}
    assert without_limits(first) == count([json.dumps(one) for one in everything], owners, owners.values())
    assert {event["detail-type"] for event in first["events"] if event["tenant"] == "thrice"} == {
        "Quota Threshold Crossed",
        "Tenant Throttled",
        "Usage Unpriced",
    }
    for again in later:
        assert (again["read"], again["duplicates"]) == (len(everything), len(everything))
        assert [event for event in again["events"] if event["tenant"] in ("twice", "thrice")] == []
        for tenant, usage in again["tenants"].items():
            assert usage["requests"] == usage["input_tokens"] == 0
            assert [limit["used"] for limit in usage["limits"]] == [
                limit["used"] for limit in first["tenants"][tenant]["limits"]
            ]


def test_what_is_no_record_is_quarantined_alone(served: Command, tmp_path: Path) -> None:
    lines: list[Any] = [
        "Permissions are correctly set for Amazon Bedrock logs.",
        record("alone-1", "alone0000001"),
        '{"schemaType": "ModelInvocationLog", "requestId": ',
        "plain text",
        "plain text",
        record("alone-2", "alone0000001", input={"inputTokenCount": -1}),
        '{"n": 123456789012345678901234567890}',
        record("alone-3", "alone0000001", input={"inputTokenCount": 2**53 + 1}),
        record("alone-4", "alone0000001", input={"inputTokenCount": 2**53}),
        record("alone-5", "alone0000001", input={"inputTokenCount": 10_000_000}),
        *[f"garbage {number}" for number in range(150)],
    ]
    document = served.replay("--time", "now", write_lines(tmp_path / "x.jsonl", lines))
    assert {name: document[name] for name in ("read", "recorded", "quarantined", "unattributed")} == {
        "read": 159,
        "recorded": 2,
        "quarantined": 157,
        "unattributed": 2,
    }
    assert document["profiles"] == {
        "alone0000001": {
            "requests": 2,
            "input_tokens": 10_000_000 + 100,
            "output_tokens": 22,
            "cache_read_tokens": 7,
            "cache_write_tokens": 0,
            "cost_usd": "0.00",
            "unpriced": 2,
        }
    }
    assert document["tenants"] == {}


def test_recorded_times_are_judged_as_they_are(served: Command, tmp_path: Path) -> None:
    lines = [
        record("old-1", "old000000001", timestamp="2019-01-01T00:00:00Z"),
        record("old-2", "old000000001", timestamp="2999-01-01T00:00:00Z"),
    ]
    file = write_lines(tmp_path / "x.jsonl", lines)
    assert served.replay("--time", "recorded", file)["quarantined"] == 2
    assert served.replay("--time", "flat", file)["recorded"] == 2


def test_all_recorded_is_said_only_of_what_was_and_no_log_is_no_success(served: Command, tmp_path: Path) -> None:
    good = write_lines(tmp_path / "good.jsonl", [record(f"told-{number}", "told00000001") for number in range(2)])
    assert "all 2 records are recorded" in served("replay", good).stderr
    assert "2 records read: 0 recorded, 2 known already" in served("replay", good).stderr
    mixed = write_lines(tmp_path / "mixed.jsonl", ["no JSON", record("told-9", "told00000001")])
    told = served("replay", mixed)
    assert (told.returncode, "are recorded" in told.stderr) == (0, False), told.stderr
    assert "2 records read: 1 recorded, 1 in quarantine" in told.stderr
    table = tmp_path / "bill.csv"
    table.write_text("tenant,usd\nacme,5\n")
    refused = served("replay", table)
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (3, "", 1), refused.stderr
    assert "is no invocation log" in refused.stderr


def test_a_very_long_identifier_appears_whole(served: Command, tmp_path: Path) -> None:
    name = "model." + "x" * 1_500
    document = served.replay(write_lines(tmp_path / "x.jsonl", [record("long-1", "-", modelId=name)]))
    assert list(document["profiles"]) == [name]


def test_a_replay_says_which_stack_and_which_tenants_it_uses(served: Command, tmp_path: Path) -> None:
    write_lines(tmp_path / "x.jsonl", [record("said-1", "said00000001")])
    (tmp_path / "tenants.yaml").write_text("tenants: [{id: said, profiles: [said00000001]}, {id: silent}]")
    done = served("replay", tmp_path)
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "tenants.yaml") in done.stderr
    assert "being served" in done.stderr
    assert "said" in done.stdout
    assert "silent" in done.stdout


def test_a_lost_delivery_is_an_error_and_not_a_smaller_number(
    up: Up, served: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bedrock_meter.clock import now_ms
    from bedrock_meter.local import replay
    from bedrock_meter.local.deployment import Deployment
    from bedrock_meter.local.endpoint import Endpoint
    from bedrock_meter.local.failures import Unaccounted
    from bedrock_meter.local.routes import ApiAccess
    from bedrock_meter.local.sending import Message
    from bedrock_meter.local.stack import LocalStack

    monkeypatch.setattr(replay, "RECORD_S", 1)
    endpoint = Endpoint(up.state["endpoint"])
    stack = LocalStack(
        Deployment(endpoint, up.state["stack_name"], up.state["outputs"]), ApiAccess(**up.state["api"]), is_served=True
    )
    logs, group = endpoint.client("logs"), stack.outputs["InvocationLogGroup"]
    (subscription,) = logs.describe_subscription_filters(logGroupName=group)["subscriptionFilters"]
    logs.delete_subscription_filter(logGroupName=group, filterName=subscription["filterName"])
    try:
        messages = [Message(json.dumps(record("lost-1", "lost00000001")), None, True)]
        with pytest.raises(Unaccounted, match="1 of 1 records sent were not recorded"):
            replay.Replay(stack, clock=now_ms).run(messages, print)
    finally:
        logs.put_subscription_filter(
            logGroupName=group,
            filterName=subscription["filterName"],
            filterPattern=subscription["filterPattern"],
            destinationArn=subscription["destinationArn"],
        )
    assert served.replay(write_lines(tmp_path / "x.jsonl", [record("found-1", "lost00000001")]))["recorded"] == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_replay_leaves_nothing_running(
    project: Project, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    from tests.e2e.conftest import command_with

    file = write_lines(tmp_path / "x.jsonl", [record(f"cut-{n}", "cut000000001") for n in range(5_000)])
    state = tmp_path / "state"
    with (tmp_path / "out").open("w") as out, (tmp_path / "err").open("w") as err:
        process = command_with(state).start("replay", file, stdout=out, stderr=err)
    while not list(state.glob("scratch-*/ministack-lambda-*")):
        assert process.poll() is None, (tmp_path / "err").read_text()
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait(30) == code
    assert (tmp_path / "out").read_text() == ""
    assert not list(state.glob("scratch-*"))
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(state) not in running
