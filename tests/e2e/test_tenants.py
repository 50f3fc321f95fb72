"""Tenants on a stack that is served: onboarding from a file, profiles that others made, suspension, removal."""

import json
import time
from pathlib import Path
from typing import Any

from bedrock_meter.local.endpoint import Endpoint
from tests.e2e.conftest import Command, Up

MODEL = "anthropic.claude-3-haiku-20240307-v1:0"
SOURCE = f"arn:aws:bedrock:us-east-1::foundation-model/{MODEL}"
COUNT = 8
PATIENCE_S = 30


def document(command: Command, *arguments: str | Path, code: int = 0) -> Any:
    done = command(*arguments, "--output", "json")
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def results(found: Any) -> dict[str, int]:
    kinds = [one["result"] for one in found["tenants"]]
    return {kind: kinds.count(kind) for kind in kinds}


def tenants_file(folder: Path) -> Path:
    file = folder / "tenants.csv"
    rows = [
        f'bulk-{number:03},"Customer {number}, Limited",Europe/Berlin,{MODEL},"meter=requests,window=day,max=1000"'
        for number in range(COUNT)
    ]
    file.write_text("id,name,timezone,models,limits\n" + "\n".join(rows), encoding="utf-8")
    return file


def test_a_file_of_tenants_is_added_and_a_second_run_changes_nothing(up: Up, served: Command, tmp_path: Path) -> None:
    bedrock = Endpoint(up.state["endpoint"]).client("bedrock")

    def profiles() -> int:
        listed = bedrock.list_inference_profiles(typeEquals="APPLICATION")["inferenceProfileSummaries"]
        return sum(":application-inference-profile/" in one["inferenceProfileArn"] for one in listed)

    before = profiles()
    file = tenants_file(tmp_path)
    assert results(document(served, "tenants", "add", "--file", file, "--dry-run")) == {"changed": COUNT}
    assert profiles() == before
    # A run that ended after three lines: the next one does the rest.
    short = tmp_path / "short.csv"
    short.write_text("\n".join(file.read_text(encoding="utf-8").splitlines()[:4]), encoding="utf-8")
    assert results(document(served, "tenants", "add", "--file", short)) == {"changed": 3}
    first = served("tenants", "add", "--file", file, "--output", "json")
    assert results(json.loads(first.stdout)) == {"changed": COUNT - 3, "unchanged": 3}
    assert f"of {COUNT} tenants: bulk-" in first.stderr
    assert profiles() == before + COUNT
    again = document(served, "tenants", "add", "--file", file)
    assert results(again) == {"unchanged": COUNT}
    assert profiles() == before + COUNT
    shown = document(served, "tenants", "show", "bulk-005")
    assert (shown["name"], shown["timezone"], shown["allowed"]) == ("Customer 5, Limited", "Europe/Berlin", True)
    assert [(one["model"], one["routing"]) for one in shown["profiles"]] == [(MODEL, "in-region")]
    assert [one["name"] for one in shown["limits"]] == ["requests-day"]


def test_a_profile_that_somebody_else_tagged_is_followed_by_the_deployed_function(up: Up, served: Command) -> None:
    endpoint = Endpoint(up.state["endpoint"])
    bedrock, lambdas = endpoint.client("bedrock"), endpoint.client("lambda")
    assert served("tenants", "add", "follower").returncode == 0
    tags = [{"key": "tenantId", "value": "follower"}]
    arn = bedrock.create_inference_profile(
        inferenceProfileName="made-by-terraform", modelSource={"copyFrom": SOURCE}, tags=tags
    )["inferenceProfileArn"]

    def follow(event: dict[str, Any]) -> None:
        answer = lambdas.invoke(
            FunctionName=up.state["outputs"]["SyncProfilesFunction"], Payload=json.dumps(event).encode()
        )
        assert "FunctionError" not in answer, answer["Payload"].read()

    detail = {"eventSource": "bedrock.amazonaws.com", "responseElements": {"inferenceProfileArn": arn}}
    follow({"source": "aws.bedrock", "detail": detail})
    (profile,) = document(served, "tenants", "show", "follower")["profiles"]
    assert (profile["arn"], profile["by"], profile["routing"]) == (arn, "tag", "in-region")
    bedrock.delete_inference_profile(inferenceProfileIdentifier=arn.rpartition("/")[2])
    follow({})
    assert document(served, "tenants", "show", "follower")["profiles"] == []
    assert [one["what"] for one in document(served, "tenants", "history", "follower")] == [
        "sync: ended",
        "sync: mapped",
        "add",
    ]
    synced = document(served, "profiles", "sync")
    assert synced["failures"] == {}
    arn = bedrock.create_inference_profile(
        inferenceProfileName="made-by-hand", modelSource={"copyFrom": SOURCE}, tags=tags
    )["inferenceProfileArn"]
    hint = "bedrock-meter reattribute --all --dry-run --stack local"
    assert hint in served("profiles", "sync").stderr
    assert hint not in served("profiles", "sync").stderr, "nothing was mapped"
    by_hand = [{"key": "tenantId", "value": "adopter"}]
    bedrock.create_inference_profile(
        inferenceProfileName="made-for-adopter", modelSource={"copyFrom": SOURCE}, tags=by_hand
    )
    adopting = served("tenants", "add", "adopter", "--model", MODEL)
    assert (adopting.returncode, hint in adopting.stderr) == (0, True), adopting.stderr
    assert hint not in served("tenants", "add", "adopter", "--model", MODEL).stderr
    assert synced["service_quota"] is None
    assert synced["service_quota_unknown_because"]


def test_a_suspended_tenant_is_told_no_until_it_is_resumed_and_both_are_events(up: Up, served: Command) -> None:
    sqs = Endpoint(up.state["endpoint"]).client("sqs")
    queue = up.state["outputs"]["ConsumerQueueUrl"]
    assert served("tenants", "add", "stopped", "--limit", "meter=requests,window=1h,max=10").returncode == 0
    by = ("--by", "operations")
    reasons = ("--reason", "invoice unpaid", "--public-reason", "Please call us.")
    assert served("tenants", "suspend", "stopped", *reasons, *by).returncode == 0
    shown = document(served, "tenants", "show", "stopped")
    assert shown["allowed"] is False
    assert (shown["suspended"]["reason"], shown["suspended"]["by"]) == ("invoice unpaid", "operations")
    assert served("tenants", "resume", "stopped", *by).returncode == 0
    assert document(served, "tenants", "show", "stopped")["allowed"] is True
    found: dict[str, str] = {}
    deadline = time.monotonic() + PATIENCE_S
    while len(found) < 2 and time.monotonic() < deadline:
        for message in sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=1).get(
            "Messages", []
        ):
            event = json.loads(message["Body"])
            if event["detail"].get("tenant") == "stopped":
                found[event["detail-type"]] = event["detail"]["public_reason"]
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    assert found == dict.fromkeys(("Tenant Suspended", "Tenant Resumed"), "Please call us.")


def test_a_tenant_that_goes_takes_its_profiles_along_and_is_erased_later(up: Up, served: Command) -> None:
    bedrock = Endpoint(up.state["endpoint"]).client("bedrock")
    added = document(served, "tenants", "add", "leaving", "--model", MODEL, "--tag-key", "customer")
    arn = added["tenants"][0]["profiles"][0]["arn"]
    assert added["policy_statements"][0]["Resource"] == arn
    assert (
        "leaving is metered only"
        in served("tenants", "add", "leaving", "--model", MODEL, "--tag-key", "customer").stderr
    )
    for words in ((), ("--delete-profiles", "--tag-key", "customer")):
        asked = served("tenants", "remove", "leaving", *words)
        assert (asked.returncode, asked.stdout) == (4, "")
        assert f"calls through {arn.rpartition('/')[2]}" in asked.stderr or f"calls through {arn}" in asked.stderr
        assert "say --yes" in asked.stderr
    assert [one["arn"] for one in document(served, "tenants", "show", "leaving")["profiles"]] == [arn]
    removed = document(served, "tenants", "remove", "leaving", "--delete-profiles", "--yes", "--tag-key", "customer")
    assert removed["deleted_profiles"] == [arn]
    listed = bedrock.list_inference_profiles(typeEquals="APPLICATION")["inferenceProfileSummaries"]
    assert arn not in [one["inferenceProfileArn"] for one in listed]
    early = served("tenants", "erase", "leaving", "--yes")
    assert early.returncode == 2
    assert "for another minute at least" in early.stderr
    (row,) = [one for one in document(served, "tenants", "list") if one["tenant"] == "leaving"]
    assert (row["profiles"], row["removed"] is not None) == (0, True)
