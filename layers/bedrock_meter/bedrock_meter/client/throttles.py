"""A throttle list kept from the meter's events: a check without any request, a few seconds behind.

Three facts: events come at least once and in no order, so the newest word about each throttle wins; a throttle stays
until its lift comes, even past ``throttled_until``, because usage that came later moves that instant silently; a list
knows only what was said since it listens.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

THROTTLED = "Tenant Throttled"
LIFTED = "Tenant Throttle Lifted"
SUSPENDED = "Tenant Suspended"
RESUMED = "Tenant Resumed"

LATE = timedelta(days=1)
"""EventBridge delivers for up to 24 hours: a lift is remembered for that long, so that an older throttle stays out."""

_SUSPENSION = ("", 0)


@dataclass(frozen=True, slots=True)
class Throttle:
    """One reason why a tenant may not call now.

    Attributes:
        tenant: Whom it concerns.
        limit: Name of the limit; empty where the tenant is suspended.
        until: When it ends if nothing more is used; None where waiting does not help.
        since: When it was found.
    """

    tenant: str
    limit: str
    until: datetime | None
    since: datetime


class ThrottleList:
    """Which tenants are throttled, from events in any order. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._words: dict[str, dict[tuple[str, int], tuple[datetime, Throttle | None]]] = {}
        self._newest: datetime | None = None

    def apply(self, event: Mapping[str, Any]) -> bool:
        """Take in an event as EventBridge delivers it.

        Returns:
            Whether it changed the list: False for copies, for what is older than what is known, for shadow
            limits, which deny nothing, for other events.
        """
        kind, detail = event.get("detail-type"), event.get("detail")
        if event.get("source") != "bedrock-meter" or not isinstance(detail, Mapping) or detail.get("shadow"):
            return False
        if kind in (THROTTLED, LIFTED):
            limit = detail["limit"]
            subject = (str(limit["name"]), int(limit["version"]))
        elif kind in (SUSPENDED, RESUMED):
            subject = _SUSPENSION
        else:
            return False
        tenant = str(detail["tenant"])
        since = datetime.fromisoformat(detail.get("evaluated_at") or event["time"])
        until = detail.get("throttled_until")
        throttle = None
        if kind in (THROTTLED, SUSPENDED):
            throttle = Throttle(tenant, subject[0], datetime.fromisoformat(until) if until else None, since)
        with self._lock:
            words = self._words.setdefault(tenant, {})
            known = words.get(subject)
            if known is not None and since <= known[0]:
                return False
            words[subject] = (since, throttle)
            newest = self._newest = since if self._newest is None else max(self._newest, since)
            self._forget_old_lifts(tenant, newest)
            return (known is not None and known[1] is not None) or throttle is not None

    def of(self, tenant: str) -> tuple[Throttle, ...]:
        """Return why a tenant is throttled; empty where it is not, as far as the list knows."""
        with self._lock:
            return tuple(throttle for _, throttle in self._words.get(tenant, {}).values() if throttle is not None)

    def tenants(self) -> tuple[str, ...]:
        """Return all throttled tenants, in order."""
        with self._lock:
            return tuple(sorted(name for name, words in self._words.items() if any(one[1] for one in words.values())))

    def _forget_old_lifts(self, tenant: str, newest: datetime) -> None:
        words = self._words[tenant]
        for subject, (since, throttle) in list(words.items()):
            if throttle is None and newest - since > LATE:
                del words[subject]
        if not words:
            del self._words[tenant]
