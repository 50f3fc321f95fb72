"""A price book that anybody can calculate in their head, to rate what tests record."""

from bedrock_meter.pricing.rating import Call, Rated

UNPRICED_MODEL = "nobody.knows-this-model"


class TestPrices:
    """``Rater``: nano-USD a token 3 in, 15 out, 1 cache read, 4 written (6 for an hour); an image costs 1,000.

    ``-`` and ``UNPRICED_MODEL`` have no price; models that begin with ``i.`` are billed by image, ``q.`` by request.
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
        is_by_token = call.model[:2] not in ("i.", "q.")
        cost += (call.images or 0) * 1_000 + (500 if call.model[:2] == "q." else 0)
        assumed = ("cache-write-5m",) if tokens.cache_write and call.cache_write_1h is None else ()
        return Rated(cost * self.factor, self.version, assumed, is_by_token)
