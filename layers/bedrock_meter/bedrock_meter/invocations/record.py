"""One model invocation, as the provider logged it, without its prompt or completion.

Three facts: the request id names the call (account and Region make it unique); ``input`` excludes both cache counts,
so the four counts are disjoint and add up; the record never says which base model an application inference profile
stands for.
"""

from msgspec import Struct


class TokenCounts(Struct, frozen=True):
    """Tokens of one call or a sum of calls, by kind. The kinds are disjoint: ``total`` is their plain sum.

    Source: AWS documents ``inputTokens`` as the non-cached part only (user guide, prompt caching).
    """

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0

    @property
    def total(self) -> int:
        """All tokens that the model read or wrote."""
        return self.input + self.output + self.cache_read + self.cache_write

    def __add__(self, other: "TokenCounts") -> "TokenCounts":
        return TokenCounts(
            self.input + other.input,
            self.output + other.output,
            self.cache_read + other.cache_read,
            self.cache_write + other.cache_write,
        )

    def __sub__(self, other: "TokenCounts") -> "TokenCounts":
        return TokenCounts(
            self.input - other.input,
            self.output - other.output,
            self.cache_read - other.cache_read,
            self.cache_write - other.cache_write,
        )

    def highest(self, other: "TokenCounts") -> "TokenCounts":
        """Return the larger count of each kind."""
        return TokenCounts(
            max(self.input, other.input),
            max(self.output, other.output),
            max(self.cache_read, other.cache_read),
            max(self.cache_write, other.cache_write),
        )


NO_TOKENS = TokenCounts()


class Invocation(Struct, frozen=True):
    """An invocation record that was read and may be recorded.

    Attributes:
        account_id: Twelve digits.
        region: Source Region of the call (the one that logs it, also for cross-Region inference).
        request_id: The provider's id of this call; one per attempt.
        event_ms: When the call happened: the record's timestamp, or the log event's own time where that cannot be read.
        operation: For example ``Converse``; any name is accepted, empty when absent.
        model_id: What the caller passed: a model id or ARN, a profile id or ARN, a deployment, a prompt.
        principal: ``identity.arn``, empty when absent.
        tokens: Counts by kind; a missing count is 0.
        error_code: ``errorCode`` of a failed call, or None.
        metadata: The caller's ``requestMetadata``: chosen by the caller, never proof of anything.
        schema_drift: Whether the record's schema version is not 1.x. It was read all the same; somebody should look.
        cache_write_1h: How many of ``tokens.cache_write`` are written for an hour; None where the record cannot tell.
        tier: Service tier (``default``, ``flex``, ``priority``, ``reserved``); None where the record cannot tell.
        images: Images produced; None where the record cannot tell.
    """

    account_id: str
    region: str
    request_id: str
    event_ms: int
    operation: str
    model_id: str
    principal: str
    tokens: TokenCounts
    error_code: str | None = None
    metadata: tuple[tuple[str, str], ...] = ()
    schema_drift: bool = False
    cache_write_1h: int | None = None
    tier: str | None = None
    images: int | None = None

    @property
    def call_id(self) -> str:
        """Identity of the call: ``account#region#requestId``.

        Request ids are unique within an account and Region only.
        """
        return f"{self.account_id}#{self.region}#{self.request_id}"
