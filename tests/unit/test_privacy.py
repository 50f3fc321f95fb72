"""What the documents say of persons: each attribute that any item of the tables has is judged there."""

import re
from pathlib import Path

from bedrock_meter.limits.destination import Called
from bedrock_meter.limits.reservations import Reservation
from bedrock_meter.storage import audit, keys, recording, reservations, tables
from bedrock_meter.tenants.attribution import Attribution
from bedrock_meter.tenants.audit import AuditEntry
from bedrock_meter.usage.ledger import entry_for
from tests.doubles.records import NOW_MS, invocation

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "privacy.md"
MODELS = (
    tables.LedgerModel,
    tables.UsageModel,
    tables.QuotasModel,
    tables.ProfileMap,
    tables.TenantModel,
    tables.PlanModel,
    tables.PeriodMap,
    tables.MappingModel,
    tables.ForgottenModel,
    tables.PatternMap,
    tables.TrustModel,
)


def attributes() -> set[str]:
    """Names of the attributes of all items but the numbers of gauges."""
    entry = entry_for(invocation("r1"), Attribution("acme", "profile", "p", "m"), now_ms=NOW_MS, retention_ms=1)
    change = AuditEntry("acme", NOW_MS, "x", "apply", {"a": 1}, {"a": 2})
    held = Reservation(
        "acme",
        "r1",
        (),
        NOW_MS,
        1,
        "n",
        "open",
        is_lease=True,
        called=Called("m"),
        through="p",
        key="k",
    )
    return {
        *(name for model in MODELS for name in model.get_attributes()),
        *recording.entry_item(entry),
        *recording._OPTIONAL,
        *audit.audit_item(change),
        *reservations.reservation_item(held),
    }


def test_every_attribute_is_judged() -> None:
    judged = set(re.findall(r"`([a-z_0-9]+)`", DOCUMENT.read_text(encoding="utf-8"))) | {"pk", "name"}
    assert {name for name in attributes() if name == name.lower()} - judged == set()


def test_every_key_that_can_hold_a_person_has_a_row() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for kind in (keys.TENANT, keys.MAPPING, keys.TRUST, keys.FORGOTTEN, keys.AUDIT_PREFIX, keys.OVERRIDES, keys.LOCK):
        assert f"| Tenants, `{kind}`: `" in text, kind
    for kind in (keys.GAUGE, keys.STATE, keys.RESERVATION_PREFIX):
        assert f"| Quotas, `{kind}`: `" in text, kind
