"""What each sample record costs, by hand.

The models are those of ``events/tenants.yaml``. Where it names none, the cost is unknown until somebody says which
model the profile stands for (``SAID``).
"""

import pytest

from bedrock_meter.invocations.record import Invocation
from bedrock_meter.pricing.book import load_book
from bedrock_meter.pricing.rating import Call, Rated, Rater
from bedrock_meter.tenants.attribution import MappingPeriod, attribute
from tests.unit.invocations.test_samples import EVERYTHING, TENANTS

SAID = {
    "a2c4m6e8k0q3": ("anthropic.claude-sonnet-4-6", "global"),
    "g1l3b5x7t9w2": ("anthropic.claude-haiku-4-5-20251001-v1:0", "geo"),
    "u1m3b5r7l9a2": ("meta.llama3-70b-instruct-v1:0", "in-region"),
    "u2m4b6r8l0a3": ("amazon.nova-canvas-v1:0", None),
}
MAPPINGS = {one.id: [MappingPeriod(tenant.id, model=one.model)] for tenant in TENANTS for one in tenant.profiles}
SAID_MAPPINGS = MAPPINGS | {
    profile: [MappingPeriod(MAPPINGS[profile][0].tenant, model=model, routing=routing)]
    for profile, (model, routing) in SAID.items()
}
RATER = Rater(load_book())

# nano-USD per token: Sonnet 4.6 regional 3,300 in, 16,500 out, 330 read, 4,125 written; global 3,000 and 15,000
# Haiku 4.5 regional 1,100 in, 5,500 out; Nova Lite 60 in, 240 out; Llama 3 70B 2,650 in, 3,500 out; Titan v2 20 in
KNOWN: dict[str, list[int | None]] = {
    "converse.json": [1_850 * 3_300 + 420 * 16_500],
    "cached.json": [96 * 3_300 + 510 * 16_500 + 6_200 * 330 + 1_480 * 4_125],
    "invoke-model-stream.json": [2_210 * 3_300 + 875 * 16_500],
    "history.jsonl": [
        1_650 * 3_300 + 540 * 16_500,
        1_980 * 3_300 + 410 * 16_500,
        2_240 * 3_300 + 690 * 16_500,
        1_405 * 3_300 + 385 * 16_500,
    ],
    "invoke-model.json": [310 * 60 + 95 * 240],
    "embeddings.json": [48 * 20],
    "keys-in-bodies.json": [120 * 60 + 30 * 240],
    "duplicate.jsonl": [205 * 60 + 60 * 240, 205 * 60 + 60 * 240],
    "single.json.gz": [260 * 60 + 75 * 240],
    "subscription-event.json": [190 * 60 + 55 * 240, 64 * 20, 140 * 60 + 35 * 240],
    "system-profile.json": [540 * 3_300 + 150 * 16_500],
    "foundation-model.json": [220 * 60 + 70 * 240],
    "agent.jsonl": [1_320 * 1_100 + 88 * 5_500, 1_512 * 1_100 + 134 * 5_500],
    "unknown-operation.json": [410 * 150 + 260 * 600],
    "same-ending.json": [None],
    "unknown-profile.json": [None],
}
"""Files whose records name their model, or whose profile does."""

TOLD: dict[str, list[int | None]] = {
    "cross-region.json": [1_430 * 3_000 + 610 * 15_000],
    "converse-stream.json": [2_300 * 1_100 + 700 * 5_500],
    "converse-stream-chunks.json": [1_900 * 1_100 + 640 * 5_500],
    "request-metadata.json": [2_150 * 1_100 + 480 * 5_500],
    "twins.jsonl": [0, 1_100 * 1_100 + 260 * 5_500, 1_250 * 1_100 + 300 * 5_500, 0],
    "failed.json": [],
    "bodies-in-s3.json": [84_210 * 2_650 + 1_204 * 3_500],
    "no-bodies.json": [640 * 2_650 + 210 * 3_500],
    "null-bodies.json": [75 * 2_650 + 12 * 3_500],
    "image.json": [None],
    "guardrail.json": [0],
    "new-configuration.log": [150 * 2_650 + 45 * 3_500],
    "array.json": [180 * 60 + 40 * 240, 330 * 2_650 + 120 * 3_500],
    "archive.jsonl.gz": [410 * 2_650 + 130 * 3_500, 520 * 2_650 + 160 * 3_500],
}
"""Files with a profile of an unknown model, once it is known."""


def rated(file: str, mappings: dict[str, list[MappingPeriod]], images: int | None = None) -> list[Rated]:
    found = []
    for one in EVERYTHING[file]:
        if isinstance(one, Invocation) and one.error_code is None:
            whose = attribute(one, mappings)
            call = Call(
                whose.tenant,
                whose.profile,
                whose.model,
                one.region,
                whose.routing,
                one.event_ms,
                one.tokens,
                images=images,
            )
            found.append(RATER.rate(call))
    return found


@pytest.mark.parametrize("file", KNOWN)
def test_a_record_of_a_known_model_costs(file: str) -> None:
    assert [one.cost_nano_usd for one in rated(file, MAPPINGS)] == KNOWN[file]


@pytest.mark.parametrize("file", TOLD)
def test_a_record_of_an_unknown_model_costs_what_its_model_costs_once_it_is_known(file: str) -> None:
    assert None in [one.cost_nano_usd for one in rated(file, MAPPINGS)] or not TOLD[file]
    assert [one.cost_nano_usd for one in rated(file, SAID_MAPPINGS)] == TOLD[file]


def test_an_image_costs_what_it_costs_once_their_number_is_known() -> None:
    assert [one.cost_nano_usd for one in rated("image.json", SAID_MAPPINGS, images=2)] == [2 * 60_000_000]


def test_the_cached_sample_says_what_it_assumes() -> None:
    (one,) = rated("cached.json", MAPPINGS)
    assert one.assumptions == ("cache-write-5m",)
    assert one.cost_nano_usd == 316_800 + 8_415_000 + 2_046_000 + 6_105_000


def test_every_sample_with_a_successful_call_is_here() -> None:
    with_calls = {name for name, found in EVERYTHING.items() if any(isinstance(one, Invocation) for one in found)}
    assert {*KNOWN, *TOLD} == with_calls
