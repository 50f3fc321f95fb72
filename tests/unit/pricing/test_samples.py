"""What each sample record costs, by hand.

The models are those of ``events/tenants.yaml``; where nobody names one, the cost is unknown.
"""

import pytest

from bedrock_meter.invocations.record import Invocation
from bedrock_meter.pricing.book import load_book
from bedrock_meter.pricing.rating import Rated, Rater
from bedrock_meter.tenants.attribution import MappingPeriod, attribute
from bedrock_meter.usage.ledger import entry_for
from tests.unit.invocations.test_samples import EVERYTHING, TENANTS

MAPPINGS = {one.id: [MappingPeriod(tenant.id, model=one.model)] for tenant in TENANTS for one in tenant.profiles}
RATER = Rater(load_book())

# nano-USD per token: Sonnet 4.6 regional 3,300 in, 16,500 out, 330 read, 4,125 written; global 3,000 and 15,000
# Haiku 4.5 regional 1,100 in, 5,500 out; Nova Lite 60 in, 240 out; Llama 3 70B 2,650 in, 3,500 out; Titan v2 20 in
# Nova 2 Lite flex 165 in, 1,375 out; Sonnet 4.5 above 200,000 tokens of context 6,600 in, 24,750 out; Sonnet 4.6 writes
# for an hour 6,600; an image of Nova Canvas 60,000,000
COSTS: dict[str, list[int | None]] = {
    "converse.json": [1_850 * 3_300 + 420 * 16_500],
    "cached.json": [96 * 3_300 + 510 * 16_500 + 6_200 * 330 + 1_480 * 4_125],
    "cache-1h.json": [40 * 3_300 + 200 * 16_500 + 1_000 * 4_125 + 2_000 * 6_600],
    "cache-1h-chunks.json": [60 * 3_300 + 150 * 16_500 + 500 * 4_125 + 1_500 * 6_600],
    "invoke-model-stream.json": [2_210 * 3_300 + 875 * 16_500],
    "cross-region.json": [1_430 * 3_000 + 610 * 15_000],
    "history.jsonl": [
        1_650 * 3_300 + 540 * 16_500,
        1_980 * 3_300 + 410 * 16_500,
        2_240 * 3_300 + 690 * 16_500,
        1_405 * 3_300 + 385 * 16_500,
    ],
    "converse-stream.json": [2_300 * 1_100 + 700 * 5_500],
    "converse-stream-chunks.json": [1_900 * 1_100 + 640 * 5_500],
    "request-metadata.json": [2_150 * 1_100 + 480 * 5_500],
    "twins.jsonl": [0, 1_100 * 1_100 + 260 * 5_500, 1_250 * 1_100 + 300 * 5_500, 0],
    "failed.json": [],
    "invoke-model.json": [310 * 60 + 95 * 240],
    "service-tier.json": [800 * 165 + 300 * 1_375],
    "embeddings.json": [48 * 20],
    "keys-in-bodies.json": [120 * 60 + 30 * 240],
    "duplicate.jsonl": [205 * 60 + 60 * 240, 205 * 60 + 60 * 240],
    "single.json.gz": [260 * 60 + 75 * 240],
    "subscription-event.json": [190 * 60 + 55 * 240, 64 * 20, 140 * 60 + 35 * 240],
    "bodies-in-s3.json": [84_210 * 2_650 + 1_204 * 3_500],
    "no-bodies.json": [640 * 2_650 + 210 * 3_500],
    "null-bodies.json": [75 * 2_650 + 12 * 3_500],
    "image.json": [None],
    "image-in-body.json": [2 * 60_000_000],
    "long-context.json": [210_000 * 6_600 + 1_500 * 24_750],
    "guardrail.json": [0],
    "new-configuration.log": [150 * 2_650 + 45 * 3_500],
    "array.json": [180 * 60 + 40 * 240, 330 * 2_650 + 120 * 3_500],
    "archive.jsonl.gz": [410 * 2_650 + 130 * 3_500, 520 * 2_650 + 160 * 3_500],
    "system-profile.json": [540 * 3_300 + 150 * 16_500],
    "foundation-model.json": [220 * 60 + 70 * 240],
    "agent.jsonl": [1_320 * 1_100 + 88 * 5_500, 1_512 * 1_100 + 134 * 5_500],
    "unknown-operation.json": [410 * 150 + 260 * 600],
    "same-ending.json": [None],
    "unknown-profile.json": [None],
}


def rated(file: str) -> list[Rated]:
    """Rate each successful call as the recorder does: the entry that it makes says what rating looks at."""
    entries = [
        entry_for(one, attribute(one, MAPPINGS), now_ms=one.event_ms, retention_ms=0)
        for one in EVERYTHING[file]
        if isinstance(one, Invocation) and one.error_code is None
    ]
    return [RATER.rate(entry.call) for entry in entries]


@pytest.mark.parametrize("file", COSTS)
def test_a_record_costs_what_a_person_calculates(file: str) -> None:
    assert [one.cost_nano_usd for one in rated(file)] == COSTS[file]


ASSUMED = {
    "cached.json": ("cache-write-5m",),
    "cache-1h.json": (),
    "cache-1h-chunks.json": (),
    "service-tier.json": (),
    "image.json": ("image-list-price", "images-unknown"),
    "image-in-body.json": ("image-list-price",),
}


@pytest.mark.parametrize("file", ASSUMED)
def test_what_a_record_cannot_tell_is_assumed_and_said_and_nothing_else(file: str) -> None:
    (one,) = rated(file)
    assert one.assumptions == ASSUMED[file]


def test_every_sample_with_a_call_is_here() -> None:
    with_calls = {name for name, found in EVERYTHING.items() if any(isinstance(one, Invocation) for one in found)}
    assert set(COSTS) == with_calls
