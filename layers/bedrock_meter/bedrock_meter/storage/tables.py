"""The four tables as pynamodb models: the schema in one place, and the access of everything that is not on a hot path.

The template creates the tables; a test holds its keys, indexes, streams and expiry against these models. Table names
are bound at run
time: a model that reads its table's name when it is imported would belong to one environment for ever.
"""

from typing import Any, ClassVar, TypeVar, cast

from pynamodb.attributes import (
    BooleanAttribute,
    ListAttribute,
    MapAttribute,
    NumberAttribute,
    TTLAttribute,
    UnicodeAttribute,
    VersionAttribute,
)
from pynamodb.indexes import GlobalSecondaryIndex, KeysOnlyProjection
from pynamodb.models import Model

from bedrock_meter.tenants.attribution import BY_PERSON, UNKNOWN_MODEL

M = TypeVar("M", bound=Model)


class UnattributedIndex(GlobalSecondaryIndex[Any]):  # type: ignore[no-untyped-call]
    """Ledger entries that wait for a tenant, by profile and time. Sparse."""

    class Meta:
        """Name and projection."""

        index_name = "unattributed"
        projection = KeysOnlyProjection()

    unattributed_profile = UnicodeAttribute(hash_key=True)
    event_ms = NumberAttribute(range_key=True)


class LedgerModel(Model):
    """One entry per invocation, which is its own dedupe marker. Written by transactions of recorder and moves only."""

    class Meta:
        """Bound at run time."""

        table_name = "unbound"

    pk = UnicodeAttribute(hash_key=True)
    schema = NumberAttribute()
    tenant = UnicodeAttribute()
    rule = UnicodeAttribute()
    profile = UnicodeAttribute()
    model = UnicodeAttribute()
    principal = UnicodeAttribute(null=True)
    operation = UnicodeAttribute()
    event_ms = NumberAttribute()
    input = NumberAttribute()
    output = NumberAttribute()
    cache_read = NumberAttribute()
    cache_write = NumberAttribute()
    error = UnicodeAttribute(null=True)
    unattributed_profile = UnicodeAttribute(null=True)
    routing = UnicodeAttribute(null=True)
    cache_write_1h = NumberAttribute(null=True)
    tier = UnicodeAttribute(null=True)
    images = NumberAttribute(null=True)
    was = UnicodeAttribute(null=True)
    moved_ms = NumberAttribute(null=True)
    cost_nano_usd = NumberAttribute(null=True)
    price_version = UnicodeAttribute(null=True)
    assumptions = UnicodeAttribute(null=True)
    expires = TTLAttribute()
    unattributed: ClassVar[UnattributedIndex] = UnattributedIndex()


class UsageModel(Model):
    """One row per tenant, quarter-hour, profile and model."""

    class Meta:
        """Bound at run time."""

        table_name = "unbound"

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    schema = NumberAttribute()
    requests = NumberAttribute(default=0)
    errors = NumberAttribute(default=0)
    input = NumberAttribute(default=0)
    output = NumberAttribute(default=0)
    cache_read = NumberAttribute(default=0)
    cache_write = NumberAttribute(default=0)
    cost_nano_usd = NumberAttribute(default=0)
    priced = NumberAttribute(default=0)


class DueIndex(GlobalSecondaryIndex[Any]):  # type: ignore[no-untyped-call]
    """What the sweep has to look at, by time. Sparse."""

    class Meta:
        """Name and projection."""

        index_name = "due"
        projection = KeysOnlyProjection()

    due_shard = UnicodeAttribute(hash_key=True)
    next_due_ms = NumberAttribute(range_key=True)


class QuotasModel(Model):
    """Gauges, reservations, states and announcements.

    Their other attributes are flat and named by what they hold: see ``storage/gauges.py``.
    """

    class Meta:
        """Bound at run time."""

        table_name = "unbound"
        stream_view_type = "KEYS_ONLY"

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    due_shard = UnicodeAttribute(null=True)
    next_due_ms = NumberAttribute(null=True)
    expires = TTLAttribute(null=True)
    due: ClassVar[DueIndex] = DueIndex()


class ProfileMap(MapAttribute[str, Any]):
    """A profile in a tenant's definition."""

    id = UnicodeAttribute()
    arn = UnicodeAttribute()
    model = UnicodeAttribute(default=UNKNOWN_MODEL)
    routing = UnicodeAttribute(null=True)
    geography = UnicodeAttribute(null=True)
    tagged = BooleanAttribute(null=True)


class TenantModel(Model):
    """A tenant's definition with its own limits (JSON); those in force live on its gauge."""

    class Meta:
        """Bound at run time."""

        table_name = "unbound"

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    schema = NumberAttribute(default=1)
    tenant = UnicodeAttribute()
    timezone = UnicodeAttribute()
    plan = UnicodeAttribute(null=True)
    profiles: ListAttribute[ProfileMap] = ListAttribute(of=ProfileMap)
    principals: ListAttribute[Any] = ListAttribute(of=UnicodeAttribute, null=True)
    updated_ms = NumberAttribute()
    name = UnicodeAttribute(null=True)
    removed_ms = NumberAttribute(null=True)
    revision = VersionAttribute()
    fail_policy = UnicodeAttribute(null=True)
    limits = UnicodeAttribute(null=True)
    boosts = UnicodeAttribute(null=True)


class PlanModel(Model):
    """A plan: limits that tenants share, as people write them (JSON)."""

    class Meta:
        """Bound at run time."""

        table_name = "unbound"

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    schema = NumberAttribute(default=1)
    name = UnicodeAttribute()
    limits = UnicodeAttribute()
    is_default = BooleanAttribute(default=False)
    updated_ms = NumberAttribute()
    revision = VersionAttribute()


class PeriodMap(MapAttribute[str, Any]):
    """A profile or principal belongs to a tenant in [from_ms, to_ms)."""

    tenant = UnicodeAttribute()
    from_ms = NumberAttribute()
    to_ms = NumberAttribute(null=True)
    model = UnicodeAttribute(default=UNKNOWN_MODEL)
    routing = UnicodeAttribute(null=True)
    geography = UnicodeAttribute(null=True)
    by = UnicodeAttribute(default=BY_PERSON)


class MappingModel(Model):
    """All owners that a profile or a principal ever had."""

    class Meta:
        """Bound at run time."""

        table_name = "unbound"

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    schema = NumberAttribute(default=1)
    periods: ListAttribute[PeriodMap] = ListAttribute(of=PeriodMap)
    version = VersionAttribute()


class ForgottenModel(Model):
    """Until when a principal whose mapping was forgotten was owned. No name, no tenant: its key is a hash."""

    class Meta:
        """Bound at run time."""

        table_name = "unbound"

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    schema = NumberAttribute(default=1)
    until_ms = NumberAttribute()


class PatternMap(MapAttribute[str, Any]):
    """A pattern of principals and all owners that it ever had."""

    pattern = UnicodeAttribute()
    periods: ListAttribute[PeriodMap] = ListAttribute(of=PeriodMap)


class TrustModel(Model):
    """What the stack trusts beside profiles; one item."""

    class Meta:
        """Bound at run time."""

        table_name = "unbound"

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    schema = NumberAttribute(default=1)
    gateways: ListAttribute[Any] = ListAttribute(of=UnicodeAttribute)
    metadata_key = UnicodeAttribute()
    patterns: ListAttribute[PatternMap] = ListAttribute(of=PatternMap)
    names_principals = BooleanAttribute(default=False)
    version = VersionAttribute()


def bound(model: type[M], table_name: str) -> type[M]:
    """Return ``model`` for the table of this name."""
    meta = type("Meta", (cast("type", model.Meta),), {"table_name": table_name})
    return type(model.__name__, (model,), {"Meta": meta})
