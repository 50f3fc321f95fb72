"""The result of a replay as the command puts it out: one JSON document, or the data of its table.

Every number in it was stored or measured by the deployed code, and compared with an independent source, before it gets
here (``local/conservation.py``).
"""

from collections.abc import Iterable
from typing import Any

from bedrock_meter.clock import iso
from bedrock_meter.limits.gauge import Gauge, Reading, read
from bedrock_meter.local.replay import Replayed
from bedrock_meter.money import usd_text
from bedrock_meter.tenants.attribution import UNATTRIBUTED
from bedrock_meter.usage.rollup import NOTHING, Sums


def outcome_document(replayed: Replayed, tenants: Iterable[str]) -> dict[str, Any]:
    """Return the JSON document of a replay.

    Args:
        replayed: What became of the records.
        tenants: Tenants to show even where nothing was used (those of the tenants file).
    """
    counts, added = replayed.counts, replayed.added.rollups
    shown = [*tenants, *sorted(added.tenants)]
    return {
        "read": counts.read,
        "recorded": counts.recorded,
        "duplicates": counts.duplicates,
        "errors": counts.errors,
        "quarantined": counts.quarantined,
        "unattributed": counts.unattributed,
        "unpriced": counts.unpriced,
        "tenants": {
            tenant: {
                **sums_document(added.tenants.get(tenant, NOTHING)),
                "limits": _limits(replayed.gauges.get(tenant), replayed.at_ms),
            }
            for tenant in dict.fromkeys(shown)
            if tenant != UNATTRIBUTED
        },
        "profiles": {profile: sums_document(added.profiles[profile]) for profile in sorted(added.profiles)},
        "events": [event.document() for event in replayed.events],
    }


def sums_document(sums: Sums) -> dict[str, Any]:
    """Return sums of usage under the names of the command's output.

    ``cost_usd`` is an exact decimal text of what is priced; ``unpriced`` calls cost something that nobody knows.
    """
    return {
        "requests": sums.requests,
        "input_tokens": sums.tokens.input,
        "output_tokens": sums.tokens.output,
        "cache_read_tokens": sums.tokens.cache_read,
        "cache_write_tokens": sums.tokens.cache_write,
        "cost_usd": usd_text(sums.cost_nano_usd),
        "unpriced": sums.unpriced,
    }


def _limits(gauge: Gauge | None, now_ms: int) -> list[dict[str, Any]]:
    return [_limit_document(reading) for reading in read(gauge, now_ms)] if gauge is not None else []


def _limit_document(reading: Reading) -> dict[str, Any]:
    limit = reading.limit
    return {
        "name": limit.name,
        "meter": str(limit.meter),
        "unit": limit.meter.unit,
        "window": str(limit.window),
        "max": limit.meter.shown(reading.maximum),
        "hard": limit.hard,
        "scope": limit.scope.document(),
        "used": limit.meter.shown(reading.used),
        "remaining": limit.meter.shown(reading.remaining),
        "complete": reading.is_complete,
        "throttled_until": iso(reading.throttled_until_ms),
        "allowed": reading.allowed,
    }
