"""A price book that anybody can calculate in their head, to rate what tests record."""

from bedrock_meter.pricing.rating import Call, Rated

UNPRICED_MODEL = "nobody.knows-this-model"


class TestPrices:
    """``Rater``: nano-USD a token 3 in, 15 out, 1 cache read, 4 written (6 for an hour); an image costs 1,000.

    ``-`` and ``UNPRICED_MODEL`` have no price.
    """

    __test__ = False

    def __init__(self, version: str = "test-1", factor: int = 1) -> None:
        self.version = version
        self.factor = factor

    def rate(self, call: Call) -> Rated:
        if call.model in ("-", UNPRICED_MODEL):
            return Rated(None, self.version)
        tokens, hour = call.tokens, call.cache_write_1h or 0
        cost = tokens.input * 3 + tokens.output * 15 + tokens.cache_read + tokens.cache_write * 4 + hour * 2
        cost += (call.images or 0) * 1_000
        assumed = ("cache-write-5m",) if tokens.cache_write and call.cache_write_1h is None else ()
        return Rated(cost * self.factor, self.version, assumed)
