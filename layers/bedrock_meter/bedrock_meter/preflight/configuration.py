"""Bedrock's model invocation logging configuration: one document per account and Region, replaced whole by each write.

Three facts: ``PutModelInvocationLoggingConfiguration`` overwrites and does not merge, so what somebody else wants of
the document has to be carried over; records with counts are written also when every body is switched off (measured
by others, see docs/verify-on-aws.md), so that metering needs no prompt; a security team may own the document, so that
nothing of it is replaced unasked. A member that this version of botocore does not know is not seen, and a write loses
it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from bedrock_meter.errors import MeterError

Configuration = Mapping[str, Any]

BODIES = (
    "textDataDeliveryEnabled",
    "imageDataDeliveryEnabled",
    "embeddingDataDeliveryEnabled",
    "videoDataDeliveryEnabled",
    "audioDataDeliveryEnabled",
)
"""What decides whether prompts and answers stand in the log. One that is not said counts as on (unconfirmed)."""

LOST_WITHOUT_BODIES = (
    "the split of cache writes into 5 minutes and 1 hour, the service tier of a call, and the number of images"
)
"""What only bodies tell; each becomes an assumption where it would decide a price."""


class DestinationTaken(MeterError):
    """The configuration sends records to another log group, which somebody may need."""


def delivered_bodies(configuration: Configuration) -> list[str]:
    """Return the kinds of bodies that are delivered."""
    return [name for name in BODIES if configuration.get(name, True)]


def log_group_of(configuration: Configuration) -> str:
    """Return the log group that records go to, empty where they go to none."""
    return str(configuration.get("cloudWatchConfig", {}).get("logGroupName", ""))


def role_of(configuration: Configuration) -> str:
    """Return the role by which Bedrock writes to the log group, empty where there is none."""
    return str(configuration.get("cloudWatchConfig", {}).get("roleArn", ""))


def bucket_of(configuration: Configuration) -> str:
    """Return the bucket that records go to, empty where they go to none."""
    return str(configuration.get("s3Config", {}).get("bucketName", ""))


def wanted(
    current: Configuration | None,
    *,
    log_group: str,
    role_arn: str = "",
    own_role_arn: str = "",
    metadata_only: bool | None = None,
    replace_log_group: bool = False,
) -> dict[str, Any]:
    """Return the document to write: what is there, and records into our log group.

    Args:
        current: What is there now, None = logging is off.
        log_group: Group to be written to.
        role_arn: Role by which Bedrock is to write there; empty: the one that writes there now, else ``own_role_arn``.
        own_role_arn: Role that the stack made for it; empty where it made none.
        metadata_only: True switches all bodies off, False all on; None keeps what is there, and switches them off
            where nothing is.
        replace_log_group: Whether another log group may be taken out.

    Raises:
        DestinationTaken: There is another log group and it may not be taken out; or nobody says which role to use.
    """
    document = dict(current or {})
    there = dict(document.get("cloudWatchConfig") or {})
    if there.get("logGroupName", log_group) != log_group and not replace_log_group:
        raise DestinationTaken(
            f"records go to the log group {there['logGroupName']} already and a configuration has one: deploy the "
            "stack with it as InvocationLogGroupName, or take it out with --replace-log-group"
        )
    present = str(there.get("roleArn", "")) if there.get("logGroupName") == log_group else ""
    role = role_arn or present or own_role_arn
    if not role:
        raise DestinationTaken(
            "say with --role-arn by which role Bedrock may write to the log group: the stack has none"
        )
    document["cloudWatchConfig"] = {**there, "logGroupName": log_group, "roleArn": role}
    if metadata_only is None and current is None:
        metadata_only = True
    if metadata_only is not None:
        document |= dict.fromkeys(BODIES, not metadata_only)
    return document


def differences(before: Configuration | None, after: Configuration) -> list[tuple[str, Any, Any]]:
    """Return (path, before, after) of everything that a write would change; None = not there."""
    old, new = dict(_paths(before or {})), dict(_paths(after))
    return [(path, old.get(path), new.get(path)) for path in sorted({*old, *new}) if old.get(path) != new.get(path)]


def _paths(document: Configuration, parent: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in document.items():
        path = f"{parent}.{name}" if parent else name
        if isinstance(value, Mapping):
            yield from _paths(value, path)
        else:
            yield path, value
