"""Bedrock's logging configuration: what a write keeps, changes and refuses."""

from typing import Any

import pytest

from bedrock_meter.preflight.configuration import BODIES, DestinationTaken, delivered_bodies, differences, wanted

OFF = dict.fromkeys(BODIES, False)
OURS = {"logGroupName": "/meter/log", "roleArn": "arn:aws:iam::123456789012:role/own"}
SECURITY = {
    "cloudWatchConfig": {
        "logGroupName": "/security/log",
        "roleArn": "arn:aws:iam::123456789012:role/security",
        "largeDataDeliveryS3Config": {"bucketName": "security", "keyPrefix": "large"},
    },
    "s3Config": {"bucketName": "security", "keyPrefix": "bedrock"},
    "textDataDeliveryEnabled": True,
    "somethingNew": 1,
}


def document(current: Any, **asked: Any) -> dict[str, Any]:
    return wanted(current, log_group="/meter/log", own_role_arn=OURS["roleArn"], **asked)


def test_where_logging_is_off_it_is_switched_on_without_bodies() -> None:
    assert document(None) == {"cloudWatchConfig": OURS, **OFF}
    assert delivered_bodies(document(None)) == []
    assert delivered_bodies(document(None, metadata_only=False)) == list(BODIES)


def test_everything_that_is_there_stays() -> None:
    only_bucket = {name: value for name, value in SECURITY.items() if name != "cloudWatchConfig"}
    assert document(only_bucket) == {**only_bucket, "cloudWatchConfig": OURS}
    assert document(only_bucket, metadata_only=True) == {**only_bucket, "cloudWatchConfig": OURS, **OFF}


def test_another_log_group_is_taken_out_only_when_told() -> None:
    with pytest.raises(DestinationTaken, match="InvocationLogGroupName"):
        document(SECURITY)
    replaced = document(SECURITY, replace_log_group=True)
    large = {"largeDataDeliveryS3Config": {"bucketName": "security", "keyPrefix": "large"}}
    assert replaced == {**SECURITY, "cloudWatchConfig": {**large, **OURS}}


def test_the_role_that_writes_to_our_group_stays_unless_another_is_named() -> None:
    present = {"cloudWatchConfig": {"logGroupName": "/meter/log", "roleArn": "arn:aws:iam::123456789012:role/theirs"}}
    assert document(present) == present
    assert document(present, role_arn="arn:aws:iam::123456789012:role/new")["cloudWatchConfig"]["roleArn"].endswith(
        "new"
    )
    with pytest.raises(DestinationTaken, match="--role-arn"):
        wanted(None, log_group="/meter/log")


def test_writing_what_is_there_changes_nothing() -> None:
    once = document(None)
    assert differences(once, document(once)) == []
    assert differences(None, once)[0] == ("audioDataDeliveryEnabled", None, False)
    assert differences(SECURITY, {**SECURITY, "s3Config": {"bucketName": "b"}}) == [
        ("s3Config.bucketName", "security", "b"),
        ("s3Config.keyPrefix", "bedrock", None),
    ]


def test_a_body_that_is_not_mentioned_counts_as_delivered() -> None:
    assert delivered_bodies({**OFF, "textDataDeliveryEnabled": True}) == ["textDataDeliveryEnabled"]
    assert delivered_bodies({}) == list(BODIES)
