"""The prices file: what an operator pays or charges instead of the list. YAML, read strictly.

::

    overrides:
      - model: anthropic.claude-sonnet-4-6     # a base model, or a pattern with *; every model by default
        prices: {input: 2.70, output: 13.50}   # USD per million tokens; image, request: USD for one
      - model: amazon.nova-*
        from: 2026-12-01                       # a UTC day or an instant; when it is applied, by default
        to: 2027-01-01                         # the first instant after it
        discount: 10%
      - {tenant: acme, markup: 15%}
      - {profile: a1c3m5e7k9q2, prices: {input: 2, flex: {input: 1}}}

Every value is read as the text that was written, so that 2.70 and 12.5% are exact.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from bedrock_meter.definitions import read_definitions, refuse_unknown_keys
from bedrock_meter.errors import InvalidDefinition
from bedrock_meter.invocations.identifiers import profile_candidate
from bedrock_meter.invocations.timestamps import parse_timestamp
from bedrock_meter.money import parse_usd
from bedrock_meter.pricing.book import PER
from bedrock_meter.pricing.models import base_model
from bedrock_meter.pricing.overrides import ANY, Override, overlapping
from bedrock_meter.tenants.tenant import checked_tenant_id

MAXIMUM_ROWS = 500

TOKEN_KINDS = ("input", "output", "cache_read", "cache_write", "cache_write_1h")
UNIT_KINDS = ("image", "request")
TIERS = ("default", "flex", "priority", "reserved", "batch")

_KEYS = ("model", "tenant", "profile", "from", "to", "prices", "markup", "discount")
_MODEL = re.compile(r"[A-Za-z0-9*][A-Za-z0-9.:_*-]{0,127}")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_PERCENT = re.compile(r"([0-9]{1,4})(?:\.([0-9]{1,6}))?\s?%")

Row = tuple[Override, bool]
"""An override, and whether the file says when it begins; where not, ``from_ms`` is 0 and means nothing."""


def load(path: Path) -> tuple[Row, ...]:
    """Read a prices file.

    Raises:
        InvalidDefinition: It cannot be read, is not YAML, or a value is wrong; says which and what would be right.
    """
    return read_definitions(path, parse, values_as_written=True)


def parse(document: object) -> tuple[Row, ...]:
    """Read the parsed content of a prices file, all scalars of which are texts; see ``load``."""
    if not isinstance(document, Mapping) or not isinstance(document.get("overrides"), list):
        raise InvalidDefinition(
            "", "must be a mapping with a list 'overrides', for example: overrides: [{tenant: acme, markup: 15%}]"
        )
    refuse_unknown_keys("", document, ("overrides",))
    entries = document["overrides"]
    if len(entries) > MAXIMUM_ROWS:
        raise InvalidDefinition("overrides", f"holds {len(entries)} rows; at most {MAXIMUM_ROWS} are read")
    rows: list[Row] = []
    for index, entry in enumerate(entries):
        try:
            rows.append(_row(entry))
        except InvalidDefinition as problem:
            raise problem.under(f"overrides[{index}]") from problem
    both = overlapping([row for row, _ in rows])
    if both is not None:
        raise InvalidDefinition(
            f"overrides[{both[1]}]", f"is about the same as overrides[{both[0]}] at the same time: end one with 'to'"
        )
    return tuple(rows)


def _row(entry: object) -> Row:
    if not isinstance(entry, Mapping):
        raise InvalidDefinition("", "must be a mapping, for example {tenant: acme, markup: 15%}")
    refuse_unknown_keys("", entry, _KEYS)
    said = [key for key in ("prices", "markup", "discount") if key in entry]
    if len(said) != 1:
        raise InvalidDefinition("", "must hold one of prices, markup and discount; write two rows for two of them")
    from_ms = _instant(entry, "from")
    to_ms = _instant(entry, "to")
    if to_ms is not None and to_ms <= (from_ms or 0):
        raise InvalidDefinition("to", "must be later than 'from'; it is the first instant that no longer counts")
    row = Override(
        from_ms=from_ms or 0,
        to_ms=to_ms,
        model=_model(entry.get("model", ANY)),
        tenant=checked_tenant_id(entry["tenant"]) if "tenant" in entry else None,
        profile=_profile(entry["profile"]) if "profile" in entry else None,
        prices=_prices(entry["prices"]) if said == ["prices"] else {},
        percent_e6=None if said == ["prices"] else _percent(entry[said[0]], said[0]),
    )
    return row, from_ms is not None


def _model(value: object) -> str:
    if not isinstance(value, str) or not _MODEL.fullmatch(value):
        raise InvalidDefinition("model", "must be a base model's id, or a pattern with * such as anthropic.*")
    named = base_model(value)
    if named.prefix:
        raise InvalidDefinition(
            "model", f"write {named.model}, without {named.prefix}.: a price holds for every routing"
        )
    return value


def _profile(value: object) -> str:
    profile = profile_candidate(value) if isinstance(value, str) else None
    if profile is None:
        raise InvalidDefinition("profile", "must be the id or ARN of an application inference profile")
    return profile


def _instant(entry: Mapping[str, object], key: str) -> int | None:
    if key not in entry:
        return None
    value = entry[key]
    at_ms = None
    if isinstance(value, str):
        at_ms = parse_timestamp(f"{value}T00:00Z" if _DAY.fullmatch(value) else value)
    if at_ms is None:
        raise InvalidDefinition(key, "must be a day or an instant in UTC, such as 2026-12-01 or 2026-12-01T08:00Z")
    return at_ms


def _prices(value: object) -> dict[str, dict[str, int]]:
    if not isinstance(value, Mapping) or not value:
        raise InvalidDefinition("prices", "must be a mapping, for example {input: 2.70, output: 13.50}")
    tiers: dict[str, dict[str, int]] = {}
    for key, one in value.items():
        if key in TIERS and isinstance(one, Mapping):
            for kind, price in one.items():
                tiers.setdefault(key, {})[kind] = _price(kind, price, f"prices.{key}")
        else:
            tiers.setdefault("default", {})[key] = _price(key, one, "prices")
    return tiers


def _price(kind: object, value: object, where: str) -> int:
    if kind not in (*TOKEN_KINDS, *UNIT_KINDS):
        known = ", ".join((*TOKEN_KINDS, *UNIT_KINDS, *TIERS[1:]))
        raise InvalidDefinition(where, f"unknown kind {kind!r}; known are {known}")
    try:
        nano_usd = parse_usd(value if isinstance(value, str) else "")
    except ValueError as problem:
        unit = "for one" if kind in UNIT_KINDS else "per million tokens"
        raise InvalidDefinition(f"{where}.{kind}", f"must be US dollars {unit}, such as 2.70") from problem
    return nano_usd * PER if kind in UNIT_KINDS else nano_usd


def _percent(value: object, key: str) -> int:
    found = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise InvalidDefinition(key, "must be a percentage of at most six decimals, such as 15% or 12.5%")
    percent_e6 = int(found[1]) * 1_000_000 + int((found[2] or "").ljust(6, "0"))
    if key == "markup":
        return percent_e6
    if percent_e6 > 100_000_000:
        raise InvalidDefinition(key, "cannot be more than 100%")
    return -percent_e6
