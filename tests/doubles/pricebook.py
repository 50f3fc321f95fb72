"""A small price book whose costs can be calculated in one's head: tiers, a large-context step, images, requests."""

from bedrock_meter.pricing.book import Book, Card, Source

MODEL, PLAIN, PAINTER, RANKER = "x.reader-v1", "x.plain-v1", "x.painter-v1", "x.rerank-v1"
STEP_ABOVE = 1_000
"""A context of MODEL that is larger than this costs twice as much."""

NANO_PER_TOKEN = {"input": 30, "output": 150, "cache_read": 10, "cache_write": 40, "cache_write_1h": 60}


def per_million(factor: int = 10, **other: int) -> dict[str, int]:
    """Prices as a book holds them, in nano-USD per million; ``factor`` in tenths."""
    return {kind: price * 100_000 * factor for kind, price in {**NANO_PER_TOKEN, **other}.items()}


def book() -> Book:
    """Make it.

    MODEL costs a tenth less with global routing and a tenth more in Europe; with flex half, with priority twice.
    PLAIN has no prices of caches. PAINTER's images cost 1,000 each. RANKER costs 500 a request.
    """
    tiers = {"default": per_million(), "flex": per_million(5), "priority": per_million(20)}
    reader = {
        "us": [Card(tiers, above=STEP_ABOVE, step={"default": per_million(20), "flex": per_million(10)})],
        "eu": [Card({"default": per_million(11)})],
        "global": [Card({"default": per_million(9)})],
    }
    plain = {"us": [Card({"default": {"input": 30_000_000, "output": 150_000_000}})]}
    painter = {"us": [Card({"default": {"image": 1_000_000_000}})]}
    ranker = {"us": [Card({"default": {"request": 500_000_000}})]}
    cards = {MODEL: reader, PLAIN: plain, PAINTER: painter, RANKER: ranker}
    return Book(1, "test", Source("", "", "", "", ""), cards)
