"""Which records may still be counted.

A ledger entry is the only protection against counting a call twice, and it expires. Therefore a record is admitted
only while the entry that it could collide with is certain to exist, and never from a future that would keep its entry
and its window apart.
"""

from bedrock_meter.invocations.quarantine import Reason

DAY_MS = 86_400_000

LEDGER_RETENTION_MS = 400 * DAY_MS
"""How long a ledger entry lives unless the deployment says otherwise."""

ADMISSION_MARGIN_MS = 7 * DAY_MS
"""How much earlier admission ends than the ledger's retention: deliveries, redrives and clocks need room."""

MAX_FUTURE_MS = 5 * 60_000
"""How far a record's clock may run ahead of ours."""


def inadmissible(event_ms: int, now_ms: int, retention_ms: int = LEDGER_RETENTION_MS) -> Reason | None:
    """Return why a record of this time may not be counted, or None if it may.

    Args:
        event_ms: When the call happened.
        now_ms: Now.
        retention_ms: How long ledger entries are kept.

    Returns:
        ``too_old`` if it is older than retention less margin, ``in_the_future`` if it is more than five minutes
        ahead. Both bounds themselves are admitted.
    """
    if event_ms < now_ms - (retention_ms - ADMISSION_MARGIN_MS):
        return Reason.TOO_OLD
    if event_ms > now_ms + MAX_FUTURE_MS:
        return Reason.IN_THE_FUTURE
    return None
