"""The events that the meter publishes: their names, their content and their ids.

A consumer can act on an event alone: it carries tenant, profile ARNs, limit, used, remaining, window and version. It
holds ids and numbers, never content. The id is a hash of what the event *is* (tenant, limit, version, window start or
rise number, level), so that publishing twice, after a crash or by two workers, is the same event to whoever de-
duplicates by ``event_id``. Schemas and examples: ``events/published/``.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bedrock_meter.clock import iso
from bedrock_meter.limits.gauge import Reading
from bedrock_meter.limits.levels import Transition
from bedrock_meter.limits.limit import InstalledLimit
from bedrock_meter.limits.status import amounts_document, limit_document
from bedrock_meter.limits.suspension import SuspensionTransition

if TYPE_CHECKING:
    # It counts tokens, whose struct the evaluator never needs.
    from bedrock_meter.limits.overuse import Overuse

SOURCE = "bedrock-meter"
DETAIL_VERSION = "1"
MAXIMUM_PROFILES = 100
"""Profiles that an event names at most: several events of one tenant have to fit into its outbox item."""

TENANT_THROTTLED = "Tenant Throttled"
TENANT_THROTTLE_LIFTED = "Tenant Throttle Lifted"
QUOTA_THRESHOLD_CROSSED = "Quota Threshold Crossed"
TENANT_OVERSPEND_FORECAST = "Tenant Overspend Forecast"
USAGE_UNATTRIBUTED = "Usage Unattributed"
USAGE_UNPRICED = "Usage Unpriced"
USAGE_ADJUSTED = "Usage Adjusted"
TENANT_SUSPENDED = "Tenant Suspended"
TENANT_RESUMED = "Tenant Resumed"
UNRESERVED_USAGE_DETECTED = "Unreserved Usage Detected"

_DETAIL_TYPES = {
    "throttled": TENANT_THROTTLED,
    "lifted": TENANT_THROTTLE_LIFTED,
    "threshold": QUOTA_THRESHOLD_CROSSED,
    "forecast": TENANT_OVERSPEND_FORECAST,
}


@dataclass(frozen=True, slots=True)
class Event:
    """One event as it is kept in the outbox and put on the bus.

    Attributes:
        id: Deterministic; the same in every copy.
        detail_type: One of the names above.
        detail: JSON object.
    """

    id: str
    detail_type: str
    detail: Mapping[str, Any]

    @property
    def resources(self) -> list[str]:
        """ARNs (or ids) of the profiles that the event is about: EventBridge's own field, to filter by."""
        return list(self.detail.get("profiles", ()))

    def encode(self) -> str:
        """Return the event as the text that the outbox holds."""
        return json.dumps([self.detail_type, self.detail], separators=(",", ":"))

    @classmethod
    def decode(cls, event_id: str, encoded: str) -> "Event":
        """Inverse of ``encode``."""
        detail_type, detail = json.loads(encoded)
        return cls(event_id, detail_type, detail)


def event_id(*parts: object) -> str:
    """Return the deterministic id of what ``parts`` name: 32 hexadecimal digits."""
    return hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).hexdigest()[:32]


def transition_event(tenant: str, profiles: Sequence[str], transition: Transition, *, now_ms: int) -> Event:
    """Return the event of a level's transition, or of a forecast: one for each calendar window and version of a limit.

    ``shadow`` is there where the limit was a shadow when its level rose: nobody is to act on it. A limit that was
    removed while it throttled is lifted without numbers: only its name and version are left.
    """
    identity = event_id(
        tenant, transition.name, transition.version, transition.ordinal, transition.threshold, transition.kind
    )
    limit: dict[str, Any] = {"name": transition.name, "version": transition.version, "removed": True}
    if transition.limit is not None:
        limit = {**limit_document(transition.limit, transition.reading), "version": transition.version}
    about: dict[str, Any] = {"threshold_percent": transition.threshold}
    if transition.limit is not None and transition.projected is not None:
        meter = transition.limit.meter
        ceiling = transition.reading.maximum if transition.reading is not None else transition.limit.maximum
        overage = transition.projected - ceiling
        about = {"projected": meter.shown(transition.projected), "projected_overage": meter.shown(overage)}
    detail = {
        **_detail(identity, tenant, profiles, limit, now_ms),
        **about,
        **({"shadow": True} if transition.shadow else {}),
        **(_reading_document(transition.reading) if transition.reading is not None else {}),
    }
    return Event(identity, _DETAIL_TYPES[transition.kind], detail)


def adjustment_event(
    tenant: str,
    profiles: Sequence[str],
    installed: InstalledLimit,
    *,
    window_start_ms: int,
    amount: int,
    rev: int,
    now_ms: int,
) -> Event:
    """Return the event that says: a calendar period that was closed has changed by ``amount``.

    Args:
        tenant: Whose usage.
        profiles: ARNs or ids of the tenant's profiles.
        installed: The calendar limit.
        window_start_ms: Start of the closed period.
        amount: What was added, in the limit's meter; negative where rating anew took more cost away. Never 0.
        rev: The gauge's revision that showed it: tells one adjustment of a period from the next.
        now_ms: Time of evaluation.
    """
    identity = event_id(tenant, installed.name, installed.version, window_start_ms, "adjusted", rev)
    detail = {
        **_detail(identity, tenant, profiles, limit_document(installed), now_ms),
        "adjusted_by": installed.meter.shown(amount),
        "window_start": iso(window_start_ms),
    }
    return Event(identity, USAGE_ADJUSTED, detail)


def suspension_event(tenant: str, profiles: Sequence[str], transition: SuspensionTransition, *, now_ms: int) -> Event:
    """Return the event that says: a person has stopped this tenant, or let it go.

    An event leaves our reach: it is archived, sent on, perhaps shown to the tenant, and no erasure finds it. So it
    carries the text that was written for the tenant, and neither who did it nor the provider's own reason.
    """
    identity = event_id(tenant, "suspension", transition.ordinal)
    suspension = transition.suspension
    detail = {
        "version": DETAIL_VERSION,
        "event_id": identity,
        "tenant": tenant,
        "profiles": list(profiles[:MAXIMUM_PROFILES]),
        "public_reason": suspension.public_reason or None,
        "suspended_at": iso(suspension.since_ms),
        "ordinal": transition.ordinal,
        "evaluated_at": iso(now_ms),
    }
    if not transition.is_start:
        detail["resumed_at"] = iso(suspension.resumed_ms)
    return Event(identity, TENANT_SUSPENDED if transition.is_start else TENANT_RESUMED, detail)


def unattributed_event(
    *, account_id: str, region: str, profile: str, day: str, model: str, event_ms: int, now_ms: int
) -> Event:
    """Return the event that says: this profile is used and belongs to no tenant. One id per profile and UTC day."""
    identity = event_id("unattributed", account_id, region, profile, day)
    return Event(
        identity, USAGE_UNATTRIBUTED, _sighting(identity, account_id, region, profile, day, model, event_ms, now_ms)
    )


def unpriced_event(
    tenant: str | None,
    *,
    account_id: str,
    region: str,
    profile: str,
    day: str,
    model: str,
    event_ms: int,
    now_ms: int,
) -> Event:
    """Return the event that says: this model is used through this profile and has no price.

    One id per tenant, profile, model and UTC day. ``tenant`` None: nobody owns the profile yet, and none is named.
    """
    identity = event_id("unpriced", tenant, account_id, region, profile, model, day)
    sighting = _sighting(identity, account_id, region, profile, day, model, event_ms, now_ms)
    return Event(identity, USAGE_UNPRICED, sighting if tenant is None else {**sighting, "tenant": tenant})


def unreserved_event(
    tenant: str,
    reason: str,
    reservation: str,
    overuse: "Overuse | None",
    *,
    account_id: str,
    region: str,
    profile: str,
    day: str,
    model: str,
    event_ms: int,
    now_ms: int,
) -> Event:
    """Return the event that says: a tenant that reserves every call made one for which nothing or too little was held.

    One id per tenant and UTC day: the first such call that was seen stands for all. ``reservation`` is what it named,
    or empty; ``overuse`` says how far above what was held its usage is, where that is the reason.
    """
    identity = event_id("unreserved", tenant, account_id, region, day)
    sighting = _sighting(identity, account_id, region, profile, day, model, event_ms, now_ms)
    said: dict[str, Any] = {"reservation": reservation} if reservation else {}
    if overuse is not None:
        meter = overuse.limit.meter
        said["above"] = {
            "limit": overuse.limit.name,
            "meter": str(meter),
            "held": meter.shown(overuse.held),
            "used": meter.shown(overuse.used),
        }
    return Event(identity, UNRESERVED_USAGE_DETECTED, {**sighting, "tenant": tenant, "reason": reason, **said})


def _sighting(
    identity: str, account_id: str, region: str, profile: str, day: str, model: str, event_ms: int, now_ms: int
) -> dict[str, Any]:
    return {
        "version": DETAIL_VERSION,
        "event_id": identity,
        "account_id": account_id,
        "region": region,
        "profile": profile,
        "model": model,
        "day": day,
        "first_seen_at": iso(event_ms),
        "evaluated_at": iso(now_ms),
    }


def _detail(
    identity: str, tenant: str, profiles: Sequence[str], limit: Mapping[str, Any], now_ms: int
) -> dict[str, Any]:
    return {
        "version": DETAIL_VERSION,
        "event_id": identity,
        "tenant": tenant,
        "profiles": list(profiles[:MAXIMUM_PROFILES]),
        "limit": dict(limit),
        "evaluated_at": iso(now_ms),
    }


def _reading_document(reading: Reading) -> dict[str, Any]:
    return {
        **amounts_document(reading),
        "window": {"start": iso(reading.window_start_ms), "end": iso(reading.window_end_ms)},
        "throttled_until": iso(reading.throttled_until_ms),
    }
