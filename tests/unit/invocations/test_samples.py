"""The sample events show what their README says: read by the parser, and counted by hand from the plain JSON."""

import base64
import gzip
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bedrock_meter.invocations.parser import LogLine, decode_subscription, read
from bedrock_meter.invocations.quarantine import Rejected
from bedrock_meter.invocations.record import NO_TOKENS, Invocation, TokenCounts
from bedrock_meter.limits.counting import counted
from bedrock_meter.limits.limit import Limit
from bedrock_meter.limits.windows import RollingWindow
from bedrock_meter.pricing.book import load_book
from bedrock_meter.pricing.rating import Rater
from bedrock_meter.tenants.attribution import UNATTRIBUTED, MappingPeriod, attribute
from bedrock_meter.tenants.file import load
from bedrock_meter.usage.ledger import entry_for

EVENTS = Path(__file__).parents[3] / "events"
FOLDER = EVENTS / "invocations"
FILES = sorted(FOLDER.iterdir())
TENANTS = load(EVENTS / "tenants.yaml")
MAPPINGS = {one.id: [MappingPeriod(tenant.id, model=one.model)] for tenant in TENANTS for one in tenant.profiles}


def lines(file: Path) -> list[LogLine]:
    content = file.read_bytes()
    text = (gzip.decompress(content) if file.suffix == ".gz" else content).decode()
    try:
        whole = json.loads(text)
    except ValueError:
        return [LogLine(line) for line in text.splitlines()]
    if isinstance(whole, dict) and "awslogs" in whole:
        return decode_subscription(whole).lines
    return [LogLine(json.dumps(one)) for one in (whole if isinstance(whole, list) else [whole])]


EVERYTHING = {file.name: [read(line) for line in lines(file)] for file in FILES}
OUTCOMES = [one for outcomes in EVERYTHING.values() for one in outcomes]


def calls() -> dict[str, Invocation]:
    """Successful calls by id, with the larger record of each pair of twins."""
    found: dict[str, Invocation] = {}
    for one in OUTCOMES:
        if isinstance(one, Invocation) and one.error_code is None:
            known = found.get(one.call_id)
            found[one.call_id] = one if known is None or known.tokens.total < one.tokens.total else known
    return found


def used(limit: Limit, tenant: str) -> int:
    """What a limit of a tenant counts of the calls."""
    total = 0
    for call in calls().values():
        whose = attribute(call, MAPPINGS)
        if whose.tenant == tenant:
            entry = entry_for(call, whose, now_ms=call.event_ms, retention_ms=0).rated(Rater(load_book()))
            total += counted(limit, entry.sums, entry.profile, entry.model).amount
    return total


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("converse.json", TokenCounts(1850, 420)),
        ("cached.json", TokenCounts(96, 510, 6200, 1480)),
        ("invoke-model-stream.json", TokenCounts(2210, 875)),
        ("converse-stream-chunks.json", TokenCounts(1900, 640)),
        ("embeddings.json", TokenCounts(48, 0)),
        ("failed.json", NO_TOKENS),
        ("image.json", NO_TOKENS),
        ("cache-1h.json", TokenCounts(40, 200, 0, 3_000)),
        ("long-context.json", TokenCounts(210_000, 1_500)),
        ("keys-in-bodies.json", TokenCounts(120, 30)),
        ("bodies-in-s3.json", TokenCounts(84210, 1204)),
        ("null-bodies.json", TokenCounts(75, 12)),
        ("unknown-operation.json", TokenCounts(410, 260)),
    ],
)
def test_single_records(name: str, tokens: TokenCounts) -> None:
    (found,) = EVERYTHING[name]
    assert isinstance(found, Invocation)
    assert found.tokens == tokens


@pytest.mark.parametrize(
    ("name", "details"),
    [
        ("cache-1h.json", (2_000, None, None)),
        ("cache-1h-chunks.json", (1_500, None, None)),
        ("service-tier.json", (None, "flex", None)),
        ("image-in-body.json", (None, None, 2)),
        ("image.json", (None, None, None)),
        ("cached.json", (None, None, None)),
    ],
)
def test_what_bodies_say_about_the_price(name: str, details: tuple[int | None, str | None, int | None]) -> None:
    (found,) = EVERYTHING[name]
    assert isinstance(found, Invocation)
    assert (found.cache_write_1h, found.tier, found.images) == details


def test_what_becomes_of_them() -> None:
    invocations = [one for one in OUTCOMES if isinstance(one, Invocation)]
    errors = {one.call_id for one in invocations if one.error_code is not None}
    rejected = [one for one in OUTCOMES if isinstance(one, Rejected)]
    assert [one.reason.value for one in rejected] == ["count"]
    assert (len(OUTCOMES) - OUTCOMES.count(None), len(calls()), len(errors)) == (48, 43, 1)
    assert len(invocations) - len(calls()) - len(errors) == 3


def test_plain_json_says_the_same() -> None:
    """An oracle without our decoder, over the files in which one JSON value is one record."""
    seen = 0
    for file in FILES:
        found = EVERYTHING[file.name]
        record: Any = json.loads(file.read_text()) if file.suffix == ".json" else None
        if len(found) != 1 or not isinstance(record, dict) or not isinstance(found[0], Invocation):
            continue
        seen += 1
        given, made = record["input"] or {}, record["output"] or {}
        kinds = ("inputTokenCount", "cacheReadInputTokenCount", "cacheWriteInputTokenCount")
        expected = [given.get(kind, 0) for kind in kinds] + [made.get("outputTokenCount", 0)]
        tokens = found[0].tokens
        assert [tokens.input, tokens.cache_read, tokens.cache_write, tokens.output] == expected
        assert (found[0].request_id, found[0].model_id) == (record["requestId"], record["modelId"])
    assert seen == 26


def test_times_lie_within_ten_minutes() -> None:
    times = [one.event_ms for one in OUTCOMES if isinstance(one, Invocation)]
    assert max(times) - min(times) < 600_000


def test_each_tenant_shows_what_it_is_there_for() -> None:
    """Rolling limits decide, so that a replay shows the same at any hour; calendar ones are far away."""
    reached: dict[str, list[float]] = {}
    for tenant in TENANTS:
        for limit in tenant.limits:
            share = used(limit, tenant.id) / limit.maximum
            reached.setdefault(tenant.id, []).append(share)
            assert share < 0.5 or (isinstance(limit.window, RollingWindow) and limit.window.length_s >= 3600)
    assert max(reached["acme"]) >= 1
    assert 0.8 <= max(reached["globex"]) < 1
    assert max(reached["initech"] + reached["umbrella"]) < 0.5
    assert 0.8 <= reached["acme"][1] < 1, "in US dollars"
    assert sum(attribute(call, MAPPINGS).tenant == UNATTRIBUTED for call in calls().values()) == 7


def test_the_tenants_cover_the_forms_of_the_file() -> None:
    profiles = [profile for tenant in TENANTS for profile in tenant.profiles]
    forms = {(profile.arn.startswith("arn:"), profile.model != "-") for profile in profiles}
    assert forms == {(True, True), (True, False), (False, True), (False, False)}
    assert len({tenant.timezone for tenant in TENANTS}) == len(TENANTS) == 4


def test_the_readme_names_every_file_and_no_other() -> None:
    readme = (EVENTS / "README.md").read_text()
    rows = re.findall(r"^\| `([^`]+)` \|", readme, re.MULTILINE)
    assert Counter(rows) == Counter(file.name for file in FILES)


def test_a_delivery_among_them_is_what_a_function_is_called_with() -> None:
    event = json.loads((FOLDER / "control-message.json").read_text())
    assert decode_subscription(event).control
    payload = json.loads(gzip.decompress(base64.b64decode(event["awslogs"]["data"])))
    assert payload["messageType"] == "CONTROL_MESSAGE"
