"""Counts and rates invocation records the slow and plain way, with the standard library and nothing of ours.

The prices are those that a person reads off AWS's pages for the models of the samples, in nano-USD; they are not the
price book. A model that is not among them has no price.

It knows what the provider writes and what a person would say the sums are. It does not know how the meter works.
"""

import base64
import gzip
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

EMPTY: Mapping[str, str] = {}
KINDS = {
    "input_tokens": ("input", "inputTokenCount"),
    "output_tokens": ("output", "outputTokenCount"),
    "cache_read_tokens": ("input", "cacheReadInputTokenCount"),
    "cache_write_tokens": ("input", "cacheWriteInputTokenCount"),
}


PRICES: dict[str, dict[str, int]] = {
    "anthropic.claude-sonnet-4-6": {"in": 3_300, "out": 16_500, "read": 330, "5m": 4_125, "1h": 6_600},
    "global.anthropic.claude-sonnet-4-6": {"in": 3_000, "out": 15_000},
    "us.anthropic.claude-sonnet-4-6": {"in": 3_300, "out": 16_500},
    "anthropic.claude-haiku-4-5-20251001-v1:0": {"in": 1_100, "out": 5_500},
    "us.anthropic.claude-haiku-4-5-20251001-v1:0": {"in": 1_100, "out": 5_500},
    "amazon.nova-lite-v1:0": {"in": 60, "out": 240},
    "amazon.nova-2-lite-v1:0 flex": {"in": 165, "out": 1_375},
    "amazon.titan-embed-text-v2:0": {"in": 20},
    "meta.llama3-70b-instruct-v1:0": {"in": 2_650, "out": 3_500},
    "amazon.nova-canvas-v1:0": {"image": 60_000_000},
    "anthropic.claude-sonnet-4-5-20250929-v1:0 long": {"in": 6_600, "out": 24_750},
    "openai.gpt-oss-120b-1:0": {"in": 150, "out": 600},
}
LONG = 200_000


def cost_of(record: dict[str, Any], model: str) -> int | None:
    """Return what one record costs in nano-USD; None where nobody can say."""
    tokens = {kind: (record.get(side) or {}).get(name) or 0 for kind, (side, name) in KINDS.items()}
    body = (record.get("output") or {}).get("outputBodyJson")
    tier = body.get("serviceTier", {}).get("type", "") if isinstance(body, dict) else ""
    name = f"{model} {tier}".strip()
    if tokens["input_tokens"] > LONG:
        name += " long"
    price = PRICES.get(name)
    if price is None:
        return None
    if "image" in price:
        images = body.get("images") if isinstance(body, dict) else None
        return None if images is None else len(images) * price["image"]
    hour = _hour_part(body)
    return sum(
        count * price[kind]
        for kind, count in (
            ("in", tokens["input_tokens"]),
            ("out", tokens["output_tokens"]),
            ("read", tokens["cache_read_tokens"]),
            ("5m", tokens["cache_write_tokens"] - hour),
            ("1h", hour),
        )
        if count
    )


def _hour_part(body: Any) -> int:
    if isinstance(body, list):
        chunks = [chunk.get("message") or {} for chunk in body if isinstance(chunk, dict)]
        parts = [message["usage"] for message in chunks if "usage" in message]
        return sum(part.get("cache_creation", {}).get("ephemeral_1h_input_tokens", 0) for part in parts)
    details = (body or {}).get("usage", {}).get("cacheDetails", []) if isinstance(body, dict) else []
    return sum(one["inputTokens"] for one in details if one["ttl"] == "1h")


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


def count(
    logged: list[str], owners: dict[str, str], tenants_known: Iterable[str], models: Mapping[str, str] = EMPTY
) -> dict[str, Any]:
    """Return what a replay of ``logged`` must say, without limits and events.

    Args:
        logged: Log messages.
        owners: Profile id -> tenant.
        tenants_known: All tenants, those without profiles too.
        models: Profile id -> model that it stands for.
    """
    calls: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    counts = dict.fromkeys(("read", "recorded", "duplicates", "errors", "quarantined", "unattributed", "unpriced"), 0)
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
    tenants: dict[str, dict[str, Any]] = {tenant: _zero() for tenant in tenants_known}
    profiles: dict[str, dict[str, Any]] = defaultdict(_zero)
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
        nameless = "." not in profile and ("inference-profile/" in called or not called.startswith("arn:"))
        model = models.get(profile, "-") if owner is not None else "-" if nameless else profile
        largest = max(records, key=lambda one: sum((one.get(s) or {}).get(n) or 0 for s, n in KINDS.values()))
        cost = cost_of(largest, model)
        counts["unpriced"] += cost is None
        for one in sums:
            one["requests"] += 1
            one["unpriced"] += cost is None
            one["cost_usd"] += Decimal(cost or 0).scaleb(-9)
            for kind, (side, name) in KINDS.items():
                one[kind] += max((record.get(side) or {}).get(name) or 0 for record in records)
    for one in (*tenants.values(), *profiles.values()):
        one["cost_usd"] = _dollars(one["cost_usd"])
    return {**counts, "tenants": tenants, "profiles": dict(profiles)}


def _dollars(amount: Decimal) -> str:
    text = f"{amount:.9f}".rstrip("0")
    return text.ljust(text.index(".") + 3, "0")


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
        if amount is not None and (type(amount) is not int or not 0 <= amount <= 10_000_000):
            return None
    found: dict[str, Any] = record
    return found


def _zero() -> dict[str, Any]:
    return dict.fromkeys(("requests", *KINDS, "unpriced"), 0) | {"cost_usd": Decimal(0)}


def without_limits(document: dict[str, Any]) -> dict[str, Any]:
    """Return a replay's document in the form of ``count``."""
    tenants = {
        tenant: {key: value for key, value in usage.items() if key != "limits"}
        for tenant, usage in document["tenants"].items()
    }
    return {**{key: value for key, value in document.items() if key != "events"}, "tenants": tenants}
