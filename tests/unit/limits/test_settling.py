"""What a held amount shrinks to: each meter's own amount of the usage as reported, for every kind of tokens."""

import itertools
from collections.abc import Mapping

import pytest

from bedrock_meter.limits.costs import Costs
from bedrock_meter.limits.estimates import Estimate
from bedrock_meter.limits.limit import InstalledLimit, Layout
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.reservations import Reservation, held_for
from bedrock_meter.pricing.rating import Rater
from tests.doubles.desk import Desk
from tests.doubles.pricebook import MODEL, NANO_PER_TOKEN, PAINTER, PLAIN, RANKER, STEP_ABOVE, book
from tests.doubles.records import NOW_MS, limit

OPUS = "anthropic.claude-opus-4-8"
OUTPUT_WEIGHT = 15
READ = ("input_tokens", "cache_read_tokens", "cache_write_tokens")
TOKENS = (*READ, "output_tokens")
METERS = tuple(meter for meter in Meter if meter is not Meter.COST_USD)
LAYOUT = Layout(1, tuple(InstalledLimit(limit("1h", 10**6, meter=one), str(at), 1) for at, one in enumerate(METERS)))
SUBSETS = [kinds for size in range(len(TOKENS) + 1) for kinds in itertools.combinations(TOKENS, size)]

ESTIMATED = {"input_tokens": 1_000, "cache_read_tokens": 200, "cache_write_tokens": 100, "output_tokens": 500}
USAGES = (
    {"input_tokens": 10, "cache_read_tokens": 900, "cache_write_tokens": 50, "output_tokens": 70},
    {"input_tokens": 0, "cache_read_tokens": 0, "cache_write_tokens": 1_100, "output_tokens": 0},
    {"input_tokens": 1_300, "cache_read_tokens": 0, "cache_write_tokens": 0, "output_tokens": 500},
    {"input_tokens": 0, "cache_read_tokens": 1_290, "cache_write_tokens": 3, "output_tokens": 1},
    dict.fromkeys(TOKENS, 0),
    dict.fromkeys(TOKENS, 9_999),
)


def estimated(*, may_cache: bool = False) -> Estimate:
    fresh, read, written, output = (ESTIMATED[kind] for kind in TOKENS)
    return Estimate(1, fresh, output, read, written, model=OPUS, may_cache=may_cache)


def amounts_of(counts: Mapping[str, int], *, bound: int = 0) -> dict[Meter, int]:
    """What tokens are on each meter; ``bound`` tokens more may be of any kind that is read."""
    fresh, read, written, output = (counts[kind] for kind in TOKENS)
    return {
        Meter.REQUESTS: 1,
        Meter.INPUT_TOKENS: fresh + bound,
        Meter.OUTPUT_TOKENS: output,
        Meter.TOTAL_TOKENS: fresh + read + written + output + bound,
        Meter.CACHE_READ_TOKENS: read + bound,
        Meter.CACHE_WRITE_TOKENS: written + bound,
        Meter.WEIGHTED_TOKENS: fresh + written + bound + OUTPUT_WEIGHT * output,
        Meter.OPEN_RESERVATIONS: 1,
    }


@pytest.mark.parametrize("usage", USAGES)
@pytest.mark.parametrize("reported", SUBSETS)
def test_each_meter_shrinks_to_its_own_amount_of_what_was_reported(
    usage: dict[str, int], reported: tuple[str, ...]
) -> None:
    estimate = estimated()
    held = Reservation("acme", "1" * 32, held_for(LAYOUT, estimate), NOW_MS, estimate=estimate)
    assert held.amounts == amounts_of(ESTIMATED)
    settled = held.shrunk(estimate.reported({kind: usage[kind] for kind in reported}), 0)
    used = amounts_of({kind: usage[kind] if kind in reported else ESTIMATED[kind] for kind in TOKENS})
    assert settled.amounts == {meter: min(held.amounts[meter], used[meter]) for meter in METERS}


@pytest.mark.parametrize("usage", USAGES)
@pytest.mark.parametrize("reported", SUBSETS)
def test_a_bound_of_all_kinds_that_are_read_shrinks_once_all_three_are_reported(
    usage: dict[str, int], reported: tuple[str, ...]
) -> None:
    estimate = estimated(may_cache=True)
    held = Reservation("acme", "1" * 32, held_for(LAYOUT, estimate), NOW_MS, estimate=estimate)
    bound = ESTIMATED["input_tokens"]
    besides = {**ESTIMATED, "input_tokens": 0}
    assert held.amounts == amounts_of(besides, bound=bound)
    settled = held.shrunk(estimate.reported({kind: usage[kind] for kind in reported}), 0)
    output = usage["output_tokens"] if "output_tokens" in reported else ESTIMATED["output_tokens"]
    if set(READ) <= set(reported):
        used = amounts_of({**usage, "output_tokens": output})
    else:
        used = amounts_of({**besides, "output_tokens": output}, bound=bound)
    assert settled.amounts == {meter: min(held.amounts[meter], used[meter]) for meter in METERS}


def test_an_honest_caller_with_a_cache_keeps_what_its_record_will_add() -> None:
    """The call of the finding: nearly all of its input was read from the cache, and its record counts it in full."""
    estimate = Estimate(input_tokens=5_500, output_tokens=100, model=OPUS)
    held = Reservation("acme", "1" * 32, held_for(LAYOUT, estimate), NOW_MS, estimate=estimate)
    usage = {"input_tokens": 50, "cache_read_tokens": 5_400, "cache_write_tokens": 0, "output_tokens": 80}
    assert held.shrunk(estimate.reported(usage), 0).amounts[Meter.TOTAL_TOKENS] == 5_530


# Costs.

SPEND = limit("1h", 10**15, meter=Meter.COST_USD, hard=True)


def cost_of(desk: Desk, identity: str) -> int:
    (one,) = desk.tables.reservations["acme", identity].held
    return one.amount


def spending(estimate: Estimate, usage: Mapping[str, int] | None = None) -> tuple[int, int]:
    """Return what is held in nano-USD of an estimate, and what is left after usage was reported."""
    desk = Desk(SPEND, costs=Costs(Rater(book()), "us-east-1"))
    service = desk.service()
    made = service.reserve("acme", estimate).reservation
    assert made is not None
    held = cost_of(desk, made.id)
    service.shrink("acme", made.id, usage or {})
    return held, cost_of(desk, made.id)


def cost(input: int = 0, output: int = 0, cache_read: int = 0, cache_write: int = 0, hour: int = 0) -> int:
    counts = {
        "input": input,
        "output": output,
        "cache_read": cache_read,
        "cache_write": cache_write,
        "cache_write_1h": hour,
    }
    return sum(NANO_PER_TOKEN[kind] * count for kind, count in counts.items())


@pytest.mark.parametrize(
    ("estimate", "held"),
    [
        ({"input_tokens": 100, "output_tokens": 10}, cost(100, 10)),
        ({"cache_read_tokens": 100}, cost(cache_read=100)),
        # Whether writes live for an hour is not said.
        ({"cache_write_tokens": 100}, cost(hour=100)),
        ({"input_tokens": 100, "may_cache": True}, cost(hour=100)),
        (
            {"input_tokens": 100, "cache_read_tokens": 50, "output_tokens": 10, "may_cache": True},
            cost(hour=150, output=10),
        ),
        # Above the step the whole call costs twice as much; at it, not yet.
        ({"input_tokens": STEP_ABOVE}, cost(STEP_ABOVE)),
        ({"input_tokens": STEP_ABOVE + 1}, 2 * cost(STEP_ABOVE + 1)),
        ({"input_tokens": 600, "cache_read_tokens": 401, "output_tokens": 1}, 2 * cost(600, 1, 401)),
        # Tiers: whether flex serves a call that asks for it is not sure.
        ({"input_tokens": 100, "tier": "default"}, cost(100)),
        ({"input_tokens": 100, "tier": "priority"}, 2 * cost(100)),
        ({"input_tokens": 100, "tier": "flex"}, cost(100)),
        ({"input_tokens": 100, "may_cache": True, "tier": "flex"}, cost(hour=100)),
        # By Region and routing.
        ({"input_tokens": 100, "region": "eu-west-1"}, 3_300),
        ({"input_tokens": 100, "routing": "global"}, 2_700),
        ({"input_tokens": 100, "routing": "geo"}, cost(100)),
        ({"input_tokens": 100, "model": f"global.{MODEL}"}, 2_700),
        # What does not cache cannot turn out to be cached.
        ({"input_tokens": 100, "model": PLAIN, "may_cache": True}, cost(100)),
        ({"images": 3, "model": PAINTER}, 3_000),
        ({"model": RANKER}, 500),
        # Each of a lease's calls may be rounded up by half a nano-dollar, and is billed by itself.
        ({"requests": 9, "input_tokens": 100}, cost(100) + 4),
        ({"requests": 9, "model": RANKER}, 9 * 500 + 4),
        ({"requests": 4, "images": 8, "model": PAINTER}, 8_000 + 2),
        ({"input_tokens": 100, "cost_nano_usd": 7}, 7),
    ],
)
def test_what_is_held_is_what_the_call_costs_at_most(estimate: dict[str, object], held: int) -> None:
    assert spending(Estimate(**{"model": MODEL, **estimate}))[0] == held  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("estimate", "usage", "left"),
    [
        ({"input_tokens": 900, "output_tokens": 100}, {"input_tokens": 100}, cost(100, 100)),
        ({"input_tokens": 900, "output_tokens": 100}, {"input_tokens": 100, "output_tokens": 7}, cost(100, 7)),
        # Dear kinds that were not estimated count, and nothing grows.
        ({"input_tokens": 900}, {"input_tokens": 0, "cache_read_tokens": 900}, cost(cache_read=900)),
        ({"input_tokens": 900}, {"input_tokens": 500, "cache_write_tokens": 100}, cost(500, hour=100)),
        ({"input_tokens": 900}, {"input_tokens": 0, "cache_write_tokens": 900}, cost(900)),
        # With the step of what was used.
        ({"input_tokens": 1_500, "output_tokens": 10}, {"input_tokens": 1_001}, 2 * cost(1_001, 10)),
        ({"input_tokens": 1_500, "output_tokens": 10}, {"input_tokens": 1_000}, cost(1_000, 10)),
        (
            {"input_tokens": 1_500, "output_tokens": 10},
            {"input_tokens": 1, "cache_read_tokens": 1_400},
            2 * cost(1, 10, 1_400),
        ),
        # A bound of all kinds that are read, partly and wholly reported.
        ({"input_tokens": 100, "output_tokens": 10, "may_cache": True}, {"output_tokens": 1}, cost(hour=100, output=1)),
        ({"input_tokens": 100, "may_cache": True}, {"input_tokens": 5, "cache_read_tokens": 1}, cost(hour=100)),
        (
            {"input_tokens": 100, "may_cache": True},
            {"input_tokens": 5, "cache_read_tokens": 95, "cache_write_tokens": 0},
            cost(5, cache_read=95),
        ),
        (
            {"input_tokens": 100, "may_cache": True},
            {"input_tokens": 5, "cache_read_tokens": 0, "cache_write_tokens": 95},
            cost(5, hour=95),
        ),
        ({"images": 3, "model": PAINTER}, {"images": 1}, 1_000),
        ({"images": 3, "model": PAINTER}, {"output_tokens": 0}, 3_000),
        ({"requests": 9, "model": RANKER}, {"requests": 2}, 2 * 500 + 1),
        # What the caller said that it costs stays, until it says what it cost.
        ({"input_tokens": 900, "cost_nano_usd": 50}, {"input_tokens": 1}, 50),
        ({"input_tokens": 900, "cost_nano_usd": 50}, {"cost_nano_usd": 20}, 20),
        ({"input_tokens": 900, "cost_nano_usd": 50}, {"cost_nano_usd": 90}, 50),
        ({"input_tokens": 900}, {"cost_nano_usd": 20}, 20),
        ({"input_tokens": 900}, {}, cost(900)),
    ],
)
def test_a_cost_shrinks_to_the_cost_of_what_was_used(
    estimate: dict[str, object], usage: dict[str, int], left: int
) -> None:
    assert spending(Estimate(**{"model": MODEL, **estimate}), usage)[1] == left  # type: ignore[arg-type]
