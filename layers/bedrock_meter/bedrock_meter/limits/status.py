"""The answer to "may a call be made now?", from one consistent reading of the gauge. Pure; documents only."""

from collections.abc import Sequence
from typing import Any

from bedrock_meter.clock import iso
from bedrock_meter.limits.boosts import Boost
from bedrock_meter.limits.gauge import Gauge, Reading, read
from bedrock_meter.limits.limit import InstalledLimit
from bedrock_meter.limits.meters import Meter
from bedrock_meter.limits.room import Need, have_room_from_ms
from bedrock_meter.limits.scope import WHOLE
from bedrock_meter.limits.suspension import public_suspension_document


def limit_document(installed: InstalledLimit, reading: Reading | None = None) -> dict[str, Any]:
    """Return a limit as events and the API show it.

    With a reading, ``max`` is the ceiling at its instant; where boosts raise it, ``base_max`` is the limit's own. A
    limit in US dollars always says what it does about calls without a price, also where that is its default.
    """
    shown = installed.meter.shown
    maximum = installed.maximum if reading is None else reading.maximum
    return {
        "name": installed.name,
        "meter": str(installed.meter),
        "unit": installed.meter.unit,
        "window": str(installed.window),
        "max": shown(maximum),
        **({"base_max": shown(installed.maximum)} if maximum != installed.maximum else {}),
        "hard": installed.hard,
        **({"when_unpriced": _unpriced_word(installed)} if installed.meter is Meter.COST_USD else {}),
        "version": installed.version,
        **({"scope": installed.scope.document()} if installed.scope != WHOLE else {}),
        **({"shadow": True} if installed.shadow else {}),
    }


def amounts_document(reading: Reading) -> dict[str, Any]:
    """Return what a limit says at an instant, as events and the API show it.

    ``complete`` is false where calls may lie in the window of which nobody can say what they add; then ``used`` is the
    least that it can be, and ``uncounted_requests`` says how many calls are missing.
    """
    shown = reading.limit.meter.shown
    return {
        "used": shown(reading.used),
        "remaining": shown(reading.remaining),
        "overage": shown(reading.overage),
        "complete": reading.is_complete,
        **({} if reading.is_complete else {"uncounted_requests": reading.uncounted}),
    }


def quota_status(gauge: Gauge, now_ms: int) -> dict[str, Any]:
    """Return the status document of a tenant.

    ``allowed`` is false as soon as one limit has nothing left; ``denied_by`` names the limits that say so, the longest
    first, and they carry ``throttled_until`` (null where waiting does not help) and ``denied_because``. A shadow limit
    never says so. Soft limits deny as well: soft says how the oldest part of a rolling window is counted. ``allowed``
    is false, too, while the tenant is suspended; ``suspended`` then says since when and what may be read of it.
    """
    readings = read(gauge, now_ms)
    suspended = public_suspension_document(gauge.suspension)
    return {
        "tenant": gauge.tenant,
        "allowed": suspended is None and all(reading.allowed for reading in readings),
        "denied_by": denied_by(readings),
        "suspended": suspended,
        "as_of": iso(now_ms),
        "version": gauge.layout.version,
        "limits": [limit_status(reading, now_ms) for reading in readings],
    }


def denied_by(readings: Sequence[Reading]) -> list[str]:
    """Return the names of the limits that deny, the one that denies longest first."""
    denying = [reading for reading in readings if not reading.allowed]
    return [reading.limit.name for reading in sorted(denying, key=severity, reverse=True)]


def denied_by_unpriced(readings: Sequence[Reading]) -> list[Reading]:
    """Return the readings of those limits that deny because of usage without a price; never of a shadow limit."""
    return [reading for reading in readings if reading.is_denied_by_unpriced and not reading.limit.shadow]


def severity(reading: Reading) -> tuple[int, float, float]:
    """Return what to compare limits by: who denies, and longest, stands above who is near its end."""
    if reading.allowed:
        return 0, -reading.remaining / max(1, reading.maximum), 0.0
    until_ms = reading.throttled_until_ms
    # What only reservations take may be given back at any moment: no throttle, and the shortest denial.
    forever = float("inf") if reading.used >= reading.maximum else 0.0
    return 1, forever if until_ms is None else until_ms, reading.overage


def rate_limit_headers(gauge: Gauge, now_ms: int) -> dict[str, str]:
    """Return ``RateLimit`` and ``RateLimit-Policy`` (IETF draft), and ``Retry-After`` where waiting helps.

    ``Retry-After`` is the first whole second at which all limits have room if nothing more is used and nothing that is
    reserved is given back before it expires.

    Each limit is a policy of its own, shadow limits are none: ``q`` its maximum, ``w`` its window in seconds, ``r``
    what remains, ``t`` whole seconds until something frees. The header's integers have 15 digits at most, so that money
    is in whole millionths of a US dollar there (``qu="micro-usd"``), what is left over cut off.
    """
    readings = [reading for reading in read(gauge, now_ms) if not reading.limit.shadow]
    if not readings:
        return {}
    policies, states = [], []
    for reading in readings:
        window_s = (reading.window_end_ms - reading.window_start_ms) // 1000
        unit, per = (';qu="micro-usd"', 1_000) if reading.limit.meter is Meter.COST_USD else ("", 1)
        policies.append(f'"{reading.limit.name}";q={reading.maximum // per}{unit};w={window_s}')
        free = f";t={_seconds_until(reading.frees_at_ms, now_ms)}" if reading.frees_at_ms is not None else ""
        states.append(f'"{reading.limit.name}";r={reading.remaining // per}{free}')
    headers = {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(states)}
    is_suspended = public_suspension_document(gauge.suspension) is not None  # until a person lets it go
    if not is_suspended and not all(reading.allowed for reading in readings):
        needs = [Need(reading.limit, 1) for reading in readings]
        allows_ms = have_room_from_ms(gauge, needs, now_ms, holds=gauge.holds)
        if allows_ms is not None:
            headers["Retry-After"] = str(_seconds_until(allows_ms, now_ms))
    return headers


def _seconds_until(instant_ms: int, now_ms: int) -> int:
    return max(0, -(-(instant_ms - now_ms) // 1000))


def limit_status(reading: Reading, now_ms: int) -> dict[str, Any]:
    """Return what a limit says now, as the API shows it; ``boosts`` are those in force."""
    boosts = [_boost_document(one, reading) for one in reading.limit.boosts if one.is_in_force(now_ms)]
    return {
        **limit_document(reading.limit, reading),
        **({"boosts": boosts} if boosts else {}),
        **amounts_document(reading),
        "reserved": reading.limit.meter.shown(reading.reserved),
        "allowed": reading.allowed,
        **({} if reading.allowed else {"denied_because": denied_because(reading)}),
        **({"would_allow": reading.would_allow} if reading.limit.shadow else {}),
        "window_start": iso(reading.window_start_ms),
        "window_end": iso(reading.window_end_ms),
        "frees_at": iso(reading.frees_at_ms),
        "throttled_until": iso(reading.throttled_until_ms),
        "counting_since": iso(reading.limit.since_ms),
    }


def denied_because(reading: Reading) -> list[str]:
    """Return why a limit denies; empty where it would not.

    ``used``: nothing is left by what is used. ``reserved``: what is left is held by open reservations. ``unpriced``:
    calls without a price may lie in the window, and the limit denies then.
    """
    is_full = reading.used + reading.reserved >= reading.maximum
    reasons = {
        "used": reading.used >= reading.maximum,
        "reserved": reading.used < reading.maximum and is_full,
        "unpriced": reading.is_denied_by_unpriced,
    }
    return [reason for reason, holds in reasons.items() if holds]


def _unpriced_word(installed: InstalledLimit) -> str:
    return "deny" if installed.denies_unpriced else "allow"


def _boost_document(boost: Boost, reading: Reading) -> dict[str, Any]:
    added = boost.amount + reading.limit.maximum * boost.permille // 1000
    return {"adds": reading.limit.meter.shown(added), "from": iso(boost.from_ms), "to": iso(boost.to_ms)}
