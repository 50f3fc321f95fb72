"""Counts invocation records the slow and plain way, with the standard library and nothing of ours.

It knows what the provider writes and what a person would say the sums are. It does not know how the meter works.
"""

import base64
import gzip
import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

KINDS = {
    "input_tokens": ("input", "inputTokenCount"),
    "output_tokens": ("output", "outputTokenCount"),
    "cache_read_tokens": ("input", "cacheReadInputTokenCount"),
    "cache_write_tokens": ("input", "cacheWriteInputTokenCount"),
}


def messages(folder: Path) -> list[str]:
    """Return all log messages in the files below ``folder``."""
    found: list[str] = []
    for file in sorted(folder.rglob("*")):
        if (
            not file.is_file()
            or "published" in file.parts
            or not file.name.endswith((".json", ".jsonl", ".log", ".gz"))
        ):
            continue
        content = file.read_bytes()
        text = (gzip.decompress(content) if file.name.endswith(".gz") else content).decode()
        try:
            whole = json.loads(text)
        except ValueError:
            found += [message for line in text.split("\n") if line.strip() for message in _opened(line)]
            continue
        elements = whole if isinstance(whole, list) else [whole]
        found += [message for element in elements for message in _opened(json.dumps(element))]
    return found


def _opened(text: str) -> list[str]:
    try:
        event = json.loads(text)
        data = event["awslogs"]["data"]
    except (ValueError, TypeError, KeyError):
        return [text]
    payload = json.loads(gzip.decompress(base64.b64decode(data)))
    if payload["messageType"] == "CONTROL_MESSAGE":
        return []
    return [event["message"] for event in payload["logEvents"]]


def count(logged: list[str], owners: dict[str, str], tenants_known: Iterable[str]) -> dict[str, Any]:
    """Return what a replay of ``logged`` must say, without limits and events.

    Args:
        logged: Log messages.
        owners: Profile id -> tenant.
        tenants_known: All tenants, those without profiles too.
    """
    calls: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    counts = dict.fromkeys(("read", "recorded", "duplicates", "errors", "quarantined", "unattributed"), 0)
    for message in logged:
        if message.strip() == "Permissions are correctly set for Amazon Bedrock logs.":
            continue
        counts["read"] += 1
        record = _record(message)
        if record is None:
            counts["quarantined"] += 1
            continue
        call = (record["accountId"], record["region"], record["requestId"])
        counts["duplicates"] += call in calls
        calls.setdefault(call, []).append(record)
    tenants: dict[str, dict[str, int]] = {tenant: _zero() for tenant in tenants_known}
    profiles: dict[str, dict[str, int]] = defaultdict(_zero)
    for records in calls.values():
        called = records[0]["modelId"]
        profile = called.rpartition("/")[2]
        # A deployment or another resource may end in the same letters as somebody's profile.
        owner = owners.get(profile) if "inference-profile/" in called or not called.startswith("arn:") else None
        sums = [profiles[profile]] + ([tenants[owner]] if owner is not None else [])
        if all("errorCode" in record for record in records):
            counts["errors"] += 1
            continue
        counts["recorded"] += 1
        counts["unattributed"] += owner is None
        for one in sums:
            one["requests"] += 1
            for kind, (side, name) in KINDS.items():
                one[kind] += max((record.get(side) or {}).get(name) or 0 for record in records)
    return {**counts, "tenants": tenants, "profiles": dict(profiles)}


def _record(message: str) -> dict[str, Any] | None:
    try:
        record = json.loads(message)
    except (ValueError, RecursionError):
        return None
    wanted = ("schemaType", "accountId", "region", "requestId", "modelId")
    if not isinstance(record, dict) or not all(isinstance(record.get(name), str) for name in wanted):
        return None
    if record["schemaType"] != "ModelInvocationLog":
        return None
    for side, name in KINDS.values():
        amount = (record.get(side) or {}).get(name)
        if amount is not None and (type(amount) is not int or not 0 <= amount <= 2**53):
            return None
    found: dict[str, Any] = record
    return found


def _zero() -> dict[str, int]:
    return dict.fromkeys(("requests", *KINDS), 0)


def without_limits(document: dict[str, Any]) -> dict[str, Any]:
    """Return a replay's document in the form of ``count``."""
    tenants = {
        tenant: {key: value for key, value in usage.items() if key != "limits"}
        for tenant, usage in document["tenants"].items()
    }
    return {**{key: value for key, value in document.items() if key != "events"}, "tenants": tenants}
