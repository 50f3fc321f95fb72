"""All keys, one tiny builder each, with the access patterns that they serve.

==========  =======================================  ==============================================================
table       key                                      read by
==========  =======================================  ==============================================================
Ledger      account#region#requestId (call_id)       its own condition (is this call recorded?), GetItem
  index     unattributed_profile, event_ms           usage that waits for a tenant, by profile
Usage       tenant, quarter-hour#profile#model       reports, reconciliation and seeds: Query by tenant and time range
Quotas      tenant, GAUGE                            every recording (update), every decision and evaluation (GetItem);
                                                     index ``due`` (``gauges-NN``) for the sweep's look at all of them
            tenant, RESERVATION#id                   settlement (batch read, update), shrinking and releasing it
            tenant, STATE                            evaluation; index ``due`` (shard, next_due_ms) for the sweep
            unattributed, OUTBOX#profile#day         announcement of unattributed usage, same index
            tenant, OUTBOX#profile#model#day         announcement of unpriced usage, same index
            tenant, OUTBOX#day                       announcement of unreserved usage, same index
            PREFLIGHT, PROBE#nonce                   the preflight that sent a test line: GetItem; gone after an hour
Tenants     TENANT#tenant, TENANT                    the tenant's definition
            TENANT#tenant, AUDIT#instant#id          who changed what of the tenant, newest first
            PROFILE#profile, MAPPING                 attribution: which tenant owns this profile, and since when
            PRINCIPAL#arn, MAPPING                   attribution: which tenant this IAM principal calls for, since when
            PLANS, PLAN#name                         limits that tenants share: Query by whoever resolves them
            PLAN#name, AUDIT#instant#id              who changed what of the plan, newest first
            TRUST, TRUST                             attribution: gateways, patterns of principals; one for the stack
            FORGOTTEN#hash, FORGOTTEN                until when a forgotten principal was owned: whoever gives it anew
            PRICES, OVERRIDES                        rating: the operator's prices, markups and discounts
            PRICES, OVERRIDES#version                who changed them, and when
            REPAIR, LOCK                             which command rewrites entries or sums just now
==========  =======================================  ==============================================================

A key never holds the tenant where a re-mapped profile could mint a second one (ledger). Parts that come from outside
are percent-encoded, so that ``#`` separates and nothing else does, and bounded, so that a key stays under DynamoDB's
1,024 bytes.
"""

import hashlib
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import quote, unquote

GAUGE = "GAUGE"
STATE = "STATE"
OUTBOX_PREFIX = "OUTBOX#"
PREFLIGHT = "PREFLIGHT"
RESERVATION_PREFIX = "RESERVATION#"
TENANT = "TENANT"
MAPPING = "MAPPING"
PRICES = "PRICES"
OVERRIDES = "OVERRIDES"
TRUST = "TRUST"
FORGOTTEN = "FORGOTTEN"
AUDIT_PREFIX = "AUDIT#"
PLANS = "PLANS"
REPAIR = "REPAIR"
LOCK = "LOCK"

DUE_SHARDS = ("0", "1", "2", "3")
"""Partitions of the ``due`` index: the sweep asks each of them once a minute."""

GAUGE_SHARDS = tuple(f"gauges-{number:02}" for number in range(60))
"""Partitions of the same index that hold all gauges, in equal parts, under no time: one for each minute of an hour."""

_MAXIMUM_PART_BYTES = 300
_SAFE = ":/.@+=,"


def bounded(part: str) -> str:
    """Return ``part`` encoded for a key; a very long one is cut and closed with a hash of the whole."""
    encoded = quote(part, safe=_SAFE, errors="backslashreplace") or "-"
    if len(encoded) <= _MAXIMUM_PART_BYTES:
        return encoded
    digest = hashlib.sha256(encoded.encode()).hexdigest()[:16]
    return f"{encoded[: _MAXIMUM_PART_BYTES - 17]}~{digest}"


@lru_cache(maxsize=4096)
def quarter_label(quarter_start_ms: int) -> str:
    """Quarter-hours as ``2026-11-24T01:45Z``: readable, and sorted by time."""
    return datetime.fromtimestamp(quarter_start_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%MZ")


def parse_quarter_label(label: str) -> int:
    """Inverse of ``quarter_label``."""
    return int(datetime.strptime(label, "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC).timestamp()) * 1000


def usage_sort_key(quarter_start_ms: int, profile: str, model: str) -> str:
    """Roll-up row of one quarter-hour, profile and model."""
    return f"{quarter_label(quarter_start_ms)}#{bounded(profile)}#{bounded(model)}"


def parse_usage_sort_key(sort_key: str) -> tuple[int, str, str]:
    """Return (quarter start in ms, profile, model). Names that were cut come back cut."""
    label, profile, model = sort_key.split("#")
    return parse_quarter_label(label), unquote(profile), unquote(model)


def tenant_key(tenant: str) -> str:
    """Partition of a tenant's definition."""
    return f"TENANT#{tenant}"


def plan_key(name: str) -> str:
    """Sort key of a plan, and partition of what was changed of it."""
    return f"PLAN#{name}"


def audit_sort_key(instant: str, unique: str) -> str:
    """Entry about a change at ``instant`` (ISO, UTC, milliseconds: sorted by time); ``unique`` tells two apart."""
    return f"{AUDIT_PREFIX}{instant}#{unique}"


def profile_key(profile: str) -> str:
    """Partition of a profile's mapping."""
    return f"PROFILE#{profile}"


def override_change_key(version: int) -> str:
    """One change of the overrides; sorted by version."""
    return f"{OVERRIDES}#{version:08d}"


def principal_key(principal: str) -> str:
    """Partition of a principal's mapping."""
    return f"PRINCIPAL#{bounded(principal)}"


def forgotten_key(principal_partition: str) -> str:
    """Partition of what is left of a forgotten principal or pattern, by the partition of its mapping."""
    return f"{FORGOTTEN}#{hashlib.sha256(principal_partition.encode()).hexdigest()}"


def outbox_sort_key(profile: str, day: str) -> str:
    """Announcement of unattributed usage of ``profile`` on the UTC ``day`` (``2026-11-24``)."""
    return f"{OUTBOX_PREFIX}{bounded(profile)}#{day}"


def unpriced_sort_key(profile: str, model: str, day: str) -> str:
    """Announcement of usage of ``model`` through ``profile`` without a price, on the UTC ``day``."""
    return f"{OUTBOX_PREFIX}{bounded(profile)}#{bounded(model)}#{day}"


def unreserved_sort_key(day: str) -> str:
    """Announcement of a tenant's usage without a reservation, on the UTC ``day``."""
    return f"{OUTBOX_PREFIX}{day}"


def probe_sort_key(nonce: str) -> str:
    """Test line of a preflight."""
    return f"PROBE#{nonce}"


def reservation_sort_key(identity: str) -> str:
    """A tenant's reservation."""
    return f"{RESERVATION_PREFIX}{identity}"


def due_shard(partition: str) -> str:
    """Partition of the ``due`` index for an item of this partition key."""
    return DUE_SHARDS[hashlib.sha256(partition.encode()).digest()[0] % len(DUE_SHARDS)]


def gauge_shard(tenant: str) -> str:
    """Partition of the ``due`` index for the gauge of a tenant."""
    number = int.from_bytes(hashlib.sha256(tenant.encode()).digest()[:4])
    return GAUGE_SHARDS[number % len(GAUGE_SHARDS)]
