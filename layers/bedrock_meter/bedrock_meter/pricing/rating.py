"""What a call cost: counts times prices, in whole nano-USD.

Three facts: the amounts of a call's lines are added up exactly, in nano-USD per million, and rounded once, half up, to
whole nano-USD (``_rounded``), so that a call is off by half a billionth of a dollar at most and sums of costs are
exact; what the book has no price for makes the whole call *unpriced* (None), never zero; what the record cannot tell is
assumed in one place, here, and named by a code. Only successful calls are rated: a failed one has no usage.

===========================  ===========================================================================================
code                         assumed
===========================  ===========================================================================================
``tier-default``             the record says no tier, and the model has several: the default one
``cache-write-5m``           the record does not split cache writes: all of them live for five minutes
``region-list-price``        the book has no prices for the Region or its geo: those of the US Regions
``price-inferred``           a price of the card is derived, not read (docs/pricing.md, known corrections)
``image-list-price``         the record says neither size nor quality: the one price that the book has
``input-media-not-counted``  the record counts no images, audio or video that went in: their price is missing
``one-request``              the model is billed per request, and a large call may count as several
``images-unknown``           (unpriced) images are billed, and the record does not say how many there were
``input-media-unknown``      (unpriced) nothing but media can have gone in, and the record does not count them
``tier-reserved``            (unpriced) reserved capacity is billed by the hour, not by the token
===========================  ===========================================================================================
"""

from functools import lru_cache

from msgspec import Struct

from bedrock_meter.invocations.record import TokenCounts
from bedrock_meter.pricing.book import PER, Book, Card
from bedrock_meter.pricing.models import LIST, base_model, is_listed_region, routing_of, scopes_of
from bedrock_meter.pricing.overrides import NONE, WHOLE, OverrideSet, chosen

DEFAULT, BATCH, RESERVED = "default", "batch", "reserved"

TIER_DEFAULT = "tier-default"
CACHE_WRITE_5M = "cache-write-5m"
REGION_LIST_PRICE = "region-list-price"
PRICE_INFERRED = "price-inferred"
IMAGE_LIST_PRICE = "image-list-price"
INPUT_MEDIA_NOT_COUNTED = "input-media-not-counted"
ONE_REQUEST = "one-request"
IMAGES_UNKNOWN = "images-unknown"
INPUT_MEDIA_UNKNOWN = "input-media-unknown"
TIER_RESERVED = "tier-reserved"

ASSUMPTIONS = (
    TIER_DEFAULT,
    CACHE_WRITE_5M,
    REGION_LIST_PRICE,
    PRICE_INFERRED,
    IMAGE_LIST_PRICE,
    INPUT_MEDIA_NOT_COUNTED,
    ONE_REQUEST,
    IMAGES_UNKNOWN,
    INPUT_MEDIA_UNKNOWN,
    TIER_RESERVED,
)
"""All codes, in the order in which an answer holds them."""


class Call(Struct, frozen=True):
    """What rating looks at.

    Attributes:
        tenant: Who is counted, or ``unattributed``.
        profile: Last segment of the record's ``modelId``.
        model: Base model as the directory or the record names it, ``-`` where nobody knows; may carry the prefix of a
            system profile, or be an ARN of a model or a system profile.
        region: Source Region.
        routing: ``in-region``, ``geo`` or ``global``; None = as the model's prefix says, else in-Region.
        event_ms: When the call happened.
        tokens: Counts by kind; disjoint.
        cache_write_1h: How many of ``tokens.cache_write`` live for an hour; None = the record cannot tell.
        tier: ``default``, ``flex``, ``priority``, ``reserved``: the one that served the call; None = cannot tell.
        images: Images produced; None = the record cannot tell.
        batch: Whether it was a row of a batch job.
    """

    tenant: str
    profile: str
    model: str
    region: str
    routing: str | None
    event_ms: int
    tokens: TokenCounts
    cache_write_1h: int | None = None
    tier: str | None = None
    images: int | None = None
    batch: bool = False


class Rated(Struct, frozen=True):
    """What a call cost.

    Attributes:
        cost_nano_usd: None = unpriced: usage counts, cost is unknown.
        price_version: Names the book and the set of overrides, and with the call thereby the card.
        assumptions: Codes, in the order of ``ASSUMPTIONS``.
        counts_tokens: Whether a record of such a call is incomplete without tokens. False where it is billed by
            something else: images, requests, media that went in. True where nobody knows.
    """

    cost_nano_usd: int | None
    price_version: str
    assumptions: tuple[str, ...] = ()
    counts_tokens: bool = True


class Line(Struct, frozen=True):
    """One kind of a call: ``quantity`` units at ``price`` nano-USD per million. ``price`` None = there is none."""

    kind: str
    quantity: int
    price: int | None
    is_override: bool = False


class Reckoning(Struct, frozen=True):
    """How a cost came about, step by step; ``Rated`` is its result.

    Attributes:
        model: Base model.
        routing: As decided.
        scope: Where the card was found; empty = there is none.
        tier: Tier of the prices.
        context_tokens: Input, cache read and cache write together: what the step is compared with.
        step: Whether the prices of the large context were taken.
        lines: Kinds with a quantity.
        percent_e6: Markup or discount in millionths of a percent.
        cost_nano_usd: As in ``Rated``.
        assumptions: As in ``Rated``.
        unpriced: Why there is no cost; empty = there is one.
        counts_tokens: As in ``Rated``.
    """

    model: str
    routing: str
    scope: str
    tier: str
    context_tokens: int
    step: bool
    lines: tuple[Line, ...]
    percent_e6: int
    cost_nano_usd: int | None
    assumptions: tuple[str, ...]
    unpriced: str = ""
    counts_tokens: bool = True


class Rater:
    """Rates calls by one book and one set of overrides. The same call always gets the same answer."""

    def __init__(self, book: Book, overrides: OverrideSet = NONE) -> None:
        self._book = book
        self._fitting = lru_cache(maxsize=_REMEMBERED)(overrides.fitting)
        self.version = f"{book.version}+{overrides.version}" if overrides.version else book.version

    def rate(self, call: Call) -> Rated:
        """Return what a call cost."""
        reckoning = self.reckon(call)
        return Rated(reckoning.cost_nano_usd, self.version, reckoning.assumptions, reckoning.counts_tokens)

    def reckon(self, call: Call) -> Reckoning:
        """Return what a call cost, with every step on the way."""
        place = _place(call.model, call.region, call.routing)
        found = self._book.find(place.model, place.scopes, call.event_ms)
        scope, card = found if found is not None else ("", _NO_CARD)
        tokens = call.tokens
        context = tokens.input + tokens.cache_read + tokens.cache_write
        tier = BATCH if call.batch else call.tier or DEFAULT
        prices = dict(card.at(context).get(tier, {}))
        row, markup = chosen(self._fitting(call.tenant, call.profile, place.model), call.event_ms)
        own = row.prices.get(tier, {}) if row is not None else {}
        prices.update(own)

        lines, assumed = _lines(call, prices, own)
        assumed.update(card.assumes)
        if not call.batch and call.tier is None and len(card.tiers.keys() - {BATCH}) > 1:
            assumed.add(TIER_DEFAULT)
        if scope == LIST and not is_listed_region(call.region):
            assumed.add(REGION_LIST_PRICE)
        if tier == RESERVED and not own:
            assumed.add(TIER_RESERVED)
        unpriced = _unpriced(place.model, found is not None, tier, prices, lines, assumed)

        percent_e6 = 0 if markup is None or markup.percent_e6 is None else markup.percent_e6
        amount = sum(line.quantity * (line.price or 0) for line in lines)
        return Reckoning(
            model=place.model,
            routing=place.routing,
            scope=scope,
            tier=tier,
            context_tokens=context,
            step=bool(card.above) and context > card.above,
            lines=lines,
            percent_e6=percent_e6,
            cost_nano_usd=None if unpriced else _rounded(amount * (WHOLE + percent_e6), PER * WHOLE),
            assumptions=tuple(code for code in ASSUMPTIONS if code in assumed),
            unpriced=unpriced,
            counts_tokens=_counts_tokens(prices),
        )


_REMEMBERED = 1024
"""Calls are much alike: so many answers are kept about places and overrides. Identifiers are chosen by callers."""

_NO_CARD = Card(tiers={})


_TOKEN_KINDS = frozenset({"input", "output", "cache_read", "cache_write", "cache_write_1h"})


class _Place(Struct, frozen=True):
    model: str
    routing: str
    scopes: tuple[str, ...]


@lru_cache(maxsize=_REMEMBERED)
def _place(identifier: str, region: str, routing: str | None) -> _Place:
    named = base_model(identifier)
    decided = routing or routing_of(named.prefix)
    return _Place(named.model, decided, scopes_of(region, decided, named.prefix))


def _lines(call: Call, prices: dict[str, int], own: dict[str, int]) -> tuple[tuple[Line, ...], set[str]]:
    """Return the kinds that a call has to pay for, and what was assumed about their quantities."""
    tokens = call.tokens
    assumed = set()
    hour = call.cache_write_1h
    if hour is None or not 0 <= hour <= tokens.cache_write:
        hour = 0
        if tokens.cache_write:
            assumed.add(CACHE_WRITE_5M)
    quantities = [
        ("input", tokens.input),
        ("output", tokens.output),
        ("cache_read", tokens.cache_read),
        ("cache_write", tokens.cache_write - hour),
        ("cache_write_1h", hour),
    ]
    if "image" in prices:
        if call.images is None:
            assumed.add(IMAGES_UNKNOWN)
        quantities.append(("image", call.images or 0))
    if "request" in prices:
        assumed.add(ONE_REQUEST)
        quantities.append(("request", 1))
    if "input_image" in prices and not tokens.input:
        assumed.add(INPUT_MEDIA_UNKNOWN)
    lines = tuple(Line(kind, count, prices.get(kind), kind in own) for kind, count in quantities if count)
    return lines, assumed


def _counts_tokens(prices: dict[str, int]) -> bool:
    """Return whether every call of these prices has tokens: nothing but text goes in, or text comes out."""
    is_by_token = not prices or not prices.keys().isdisjoint(_TOKEN_KINDS)
    return is_by_token and "input_image" not in prices


def _unpriced(
    model: str, has_card: bool, tier: str, prices: dict[str, int], lines: tuple[Line, ...], assumed: set[str]
) -> str:
    """Return why a call has no cost, or an empty text."""
    if not has_card and not prices:
        return f"no price for model {model} with this routing"
    if not prices:
        return f"no price for tier {tier}"
    if IMAGES_UNKNOWN in assumed:
        return "images are billed, and the record does not say how many"
    if INPUT_MEDIA_UNKNOWN in assumed:
        return "images or other media went in, and the record does not count them"
    for line in lines:
        if line.price is None:
            return f"no price for {line.kind} of {model}"
    return ""


def _rounded(numerator: int, denominator: int) -> int:
    """Divide to whole nano-USD, halves up. The only place where money is rounded."""
    return (2 * numerator + denominator) // (2 * denominator)
