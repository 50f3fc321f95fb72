"""Straight on the tables: for services that run beside the meter and may write its tables. Needs ``[server]``.

It asks the same service that the quota API asks, in this process: one hop less, and the caller's own rights on the
tables instead of a right to ask. Whoever may write the tables may write anything into them; between tenants' services
and the meter there should be the API.

The service is handed in, so that this module imports nothing of it. See ``docs/client.md`` for the wiring.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from bedrock_meter import clock
from bedrock_meter.client.errors import QuotaRefused, QuotaUnavailable
from bedrock_meter.client.quota import (
    RESERVATION_KEY,
    Amounts,
    Denial,
    Profile,
    Reservation,
    ReservationRequest,
)

CONFLICT_PAUSES_SECONDS = (0.025, 0.05, 0.1)
"""Before another attempt where many reserve for one tenant at once."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A question in the service's words. Times in milliseconds; ``estimate`` by kind, see ``Amounts.estimate``."""

    key: str
    estimate: Mapping[str, int]
    ttl_ms: int
    kind: str
    model: str | None
    profile: str | None


class Reservations(Protocol):
    """Who holds amounts: the service behind the quota API. Storage errors pass through as botocore raises them."""

    def reserve(self, tenant: str, wanted: Any, now_ms: int) -> Any:
        """Hold an amount.

        Returns:
            With ``id`` and ``profile`` (``(id, ARN)`` or None) where it is held; with ``limit``, ``requested`` and
            ``throttled_until_ms`` where it is denied; None if there is no such tenant.
        """

    def shrink(
        self, tenant: str, reservation: str, usage: Mapping[str, int], extend_ms: int | None, now_ms: int
    ) -> object:
        """Lower what is held to ``usage``. Kinds that are missing stay."""

    def release(self, tenant: str, reservation: str, now_ms: int) -> object:
        """Give back what is held."""


class TableTransport:
    """``Transport`` over the service behind the quota API. As safe for threads as that service.

    Args:
        reservations: The service.
        busy: What it raises where others were writing each time: asked again, then ``QuotaUnavailable`` that no policy
            opens.
        refusals: What it raises for a question that is wrong: ``QuotaRefused``.
        now_ms: Current time in milliseconds.
        pause: Waits for some seconds.
    """

    def __init__(
        self,
        reservations: Reservations,
        *,
        busy: tuple[type[Exception], ...] = (),
        refusals: tuple[type[Exception], ...] = (),
        now_ms: Callable[[], int] = clock.now_ms,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._reservations = reservations
        self._busy = busy
        self._refusals = refusals
        self._now_ms = now_ms
        self._pause = pause

    def reserve(self, tenant: str, request: ReservationRequest) -> Reservation | Denial:
        """Ask the service."""
        wanted = Wanted(
            request.key,
            request.estimate.estimate(),
            request.ttl_seconds * 1_000,
            request.kind,
            request.model,
            request.profile,
        )
        now_ms = self._now_ms()
        answer = self._ask(lambda: self._reservations.reserve(tenant, wanted, now_ms))
        if answer is None:
            raise QuotaRefused(404, "Tenant not found", f"there is no tenant {tenant}")
        if hasattr(answer, "requested"):
            return _denial(answer, now_ms)
        profile = Profile(*answer.profile) if answer.profile is not None else None
        return Reservation(answer.id, profile, {RESERVATION_KEY: answer.id})

    def shrink(self, tenant: str, reservation_id: str, usage: Amounts, extend_seconds: int | None = None) -> None:
        """Ask the service."""
        extend_ms = None if extend_seconds is None else extend_seconds * 1_000
        self._ask(lambda: self._reservations.shrink(tenant, reservation_id, usage.usage(), extend_ms, self._now_ms()))

    def release(self, tenant: str, reservation_id: str) -> None:
        """Ask the service."""
        self._ask(lambda: self._reservations.release(tenant, reservation_id, self._now_ms()))

    def close(self) -> None:
        """Nothing is kept here."""

    def _ask(self, send: Callable[[], Any]) -> Any:
        from bedrock_meter.storage.dynamodb import AWS_ERRORS, failure_name, is_passing

        pauses = iter(CONFLICT_PAUSES_SECONDS)
        while True:
            try:
                return send()
            except self._refusals as problem:
                raise QuotaRefused(409, type(problem).__name__, str(problem)) from problem
            except self._busy as problem:
                pause = next(pauses, None)
                if pause is None:
                    raise QuotaUnavailable(str(problem), closed=True, retry_after=1) from problem
                self._pause(pause)
            except AWS_ERRORS as problem:
                code = failure_name(problem)
                if not is_passing(problem):
                    raise QuotaRefused(403, "Tables out of reach", code) from problem
                raise QuotaUnavailable(f"the tables do not answer: {code}") from problem


def _denial(denied: Any, now_ms: int) -> Denial:
    until_ms: int | None = denied.throttled_until_ms
    retry_after = None if until_ms is None else max(1, -(-(until_ms - now_ms) // 1_000))
    document: dict[str, Any] = {
        "requested": denied.requested,
        "retry_after_seconds": retry_after,
        "throttled_until": clock.iso(until_ms),
    }
    if denied.limit is not None:
        document["limit"] = dict(denied.limit)
    return Denial(document, retry_after)
