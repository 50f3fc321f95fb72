"""Prices, overrides and the steps to a cost, as documents for programs and as tables for people."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from bedrock_meter.clock import iso
from bedrock_meter.money import usd_text

if TYPE_CHECKING:
    from bedrock_meter.pricing.overrides import Override, OverrideSet
    from bedrock_meter.pricing.rating import Reckoning

_FEMTO_DIGITS = 15
"""Nano-USD per million are femto-USD: fifteen decimals of a US dollar."""

_PER_UNIT = ("image", "request", "input_image")
_PER = 1_000_000


def override_rows(held: "OverrideSet", at_ms: int | None) -> list[dict[str, Any]]:
    """Return the rows of a set; with ``at_ms``, also whether each holds then."""
    shown = []
    for row in held.rows:
        said: dict[str, Any] = {"tenant": row.tenant, "profile": row.profile, "model": row.model}
        said |= {"from": iso(row.from_ms), "to": iso(row.to_ms), "says": _says(row)}
        shown.append(said if at_ms is None else {**said, "holds": row.holds(at_ms)})
    return shown


def _says(row: "Override") -> Any:
    if row.percent_e6 is None:
        return {tier: usd_of(prices) for tier, prices in row.prices.items()}
    return _percent_text(row.percent_e6)


def _percent_text(percent_e6: int) -> str:
    whole, part = divmod(abs(percent_e6), 1_000_000)
    digits = f"{part:06d}".rstrip("0")
    return f"{'markup' if percent_e6 >= 0 else 'discount'} {whole}{'.' if digits else ''}{digits}%"


def like(model: str, known: Iterable[str]) -> str:
    """Return a question about similar names, or an empty text."""
    close = get_close_matches(model, list(known), n=3)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def usd_of(prices: Mapping[str, int]) -> dict[str, str]:
    """Return prices by kind as people write them: US dollars per million tokens, or for one image or request."""
    return {kind: usd_text(price // _PER if kind in _PER_UNIT else price) for kind, price in prices.items()}


def _femto_text(amount: int) -> str:
    """Return nano-USD per million as US dollars, exactly."""
    whole, part = divmod(amount, 10**_FEMTO_DIGITS)
    return f"{whole}.{f'{part:0{_FEMTO_DIGITS}d}'.rstrip('0').ljust(2, '0')}"


def reckoning_document(reckoning: "Reckoning", version: str) -> dict[str, Any]:
    """Return every step to a cost."""
    cost = reckoning.cost_nano_usd
    return {
        "model": reckoning.model,
        "routing": reckoning.routing,
        "card": reckoning.scope or None,
        "tier": reckoning.tier,
        "context_tokens": reckoning.context_tokens,
        "large_context": reckoning.step,
        "lines": [
            {
                "kind": line.kind,
                "quantity": line.quantity,
                "usd": None if line.price is None else usd_of({line.kind: line.price})[line.kind],
                "amount_usd": None if line.price is None else _femto_text(line.quantity * line.price),
                "override": line.is_override,
            }
            for line in reckoning.lines
        ],
        "percent": _percent_text(reckoning.percent_e6) if reckoning.percent_e6 else None,
        "cost_nano_usd": cost,
        "cost_usd": None if cost is None else usd_text(cost),
        "assumptions": list(reckoning.assumptions),
        "unpriced": reckoning.unpriced or None,
        "price_version": version,
    }


def reckoning_lines(reckoning: "Reckoning", version: str) -> list[str]:
    """Return the same in words."""
    document = reckoning_document(reckoning, version)
    step = ", large context" if reckoning.step else ""
    card = f"card {reckoning.scope}" if reckoning.scope else "no card"
    lines = [
        f"{reckoning.model}, {reckoning.routing}, {card}, tier {reckoning.tier}{step}; prices {version}",
        f"context: {reckoning.context_tokens:,} tokens (input, cache read and cache write)",
    ]
    for line in document["lines"]:
        price = "no price" if line["usd"] is None else line["usd"]
        unit = "" if line["kind"] in _PER_UNIT else " / 1,000,000"
        own = " (yours)" if line["override"] else ""
        amount = "" if line["amount_usd"] is None else f" = {line['amount_usd']}"
        lines.append(f"  {line['kind']:<15}{line['quantity']:>14,} x {price}{own}{unit}{amount}")
    if document["percent"]:
        lines.append(f"  {document['percent']} on the sum")
    if reckoning.unpriced:
        lines.append(f"unpriced: {reckoning.unpriced}")
    else:
        lines.append(f"cost: {document['cost_usd']} USD = {reckoning.cost_nano_usd:,} nano-USD, rounded once, half up")
    lines += [f"assumed: {code}" for code in reckoning.assumptions]
    return lines


def in_words(value: Any) -> Any:
    """Return a mapping as ``key value, key value``; anything else as it is."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {in_words(one)}" for key, one in value.items())
    return value
