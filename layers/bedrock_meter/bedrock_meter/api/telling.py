"""Who is told what went wrong behind an answer: counters with alarms, and log lines without anything of the request."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Telling:
    """Who is told.

    Attributes:
        failed: Gets the error code when the storage failed.
        degraded: When a call was allowed without a look at the quota.
        unexpected: Gets an error that no route foresaw.
        unexplained: When DynamoDB throttled and did not say what: see ``FailPolicies``.
    """

    failed: Callable[[str], None]
    degraded: Callable[[], None]
    unexpected: Callable[[Exception], None]
    unexplained: Callable[[], None] = lambda: None


def out_loud() -> Telling:
    """Return who writes counters and log lines."""
    from bedrock_meter.observability import count_once, logger

    def failed(code: str) -> None:
        count_once("QuotaReadsFailed")
        logger.error("the storage failed", code=code)

    def degraded() -> None:
        count_once("AnswersDegraded")

    def unexplained() -> None:
        count_once("ThrottlesWithoutReason")

    def unexpected(error: Exception) -> None:
        # Where, not what: a message may repeat a part of the request.
        count_once("AnswersFailed")
        logger.error(
            "no route foresaw this", error=type(error).__name__, where=traceback.format_tb(error.__traceback__)
        )

    return Telling(failed, degraded, unexpected, unexplained)
