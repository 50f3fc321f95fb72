"""Makes the price book ``pricing/book.json``: ``make prices``.

Two steps. ``--fetch`` downloads the pinned litellm wheel and brings ``upstream.json`` up to it. Without it, the book is
made from ``upstream.json`` and ``corrections.json`` alone, without a network and the same on every machine; a test does
that and compares. The book's version is the day of its newest prices and a hash of its content, so that two books with
one version cannot differ.

A scope says where a card's prices hold: a Region, a geo (the prefix of its profiles: ``us``, ``eu`` ...), ``global``,
or ``list``: what upstream says of the bare model id.
"""

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from prices import upstream

ROOT = Path(__file__).resolve().parent.parent
CORRECTIONS = upstream.FOLDER / "corrections.json"
BOOK = ROOT / "layers" / "bedrock_meter" / "bedrock_meter" / "pricing" / "book.json"
SCHEMA = 1

GEOS = ("us", "us-gov", "eu", "apac", "jp", "au", "ca", "in")
LIST, GLOBAL = "list", "global"

KINDS = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "output_cost_per_image": "image",
    "input_cost_per_image": "input_image",
    "input_cost_per_query": "request",
}
TIERS = {"": "default", "_batches": "batch", "_flex": "flex", "_priority": "priority", "_ultrafast": "ultrafast"}
_FIELD = re.compile(r"(.+?)(?:_above_([0-9]+)k_tokens)?(_batches|_flex|_priority|_ultrafast)?")
_REGION = re.compile(r"[a-z]{2}(?:-[a-z]+)+-[0-9]")

Tiers = dict[str, dict[str, int]]
Card = dict[str, Any]
Cards = dict[str, dict[str, Card]]
"""Model -> scope -> card."""


def place_of(key: str) -> tuple[str, str] | None:
    """Return (model, scope) of upstream's key, or None for aliases and image sizes, which no record names."""
    parts = key.removeprefix("bedrock/").split("/")
    if len(parts) == 2 and _REGION.fullmatch(parts[0]):
        scope, name = parts
    elif len(parts) == 1:
        scope, name = LIST, parts[0]
        prefix, _, rest = name.partition(".")
        if prefix in (*GEOS, GLOBAL):
            scope, name = prefix, rest
    else:
        return None
    return (name, scope) if "." in name and "@" not in name else None


def nano_usd_per_million(text: str) -> int:
    """Turn US dollars per unit into nano-USD per million units.

    Raises:
        ValueError: It is finer than that, or negative.
    """
    exact = Decimal(text) * 10**15
    if exact != exact.to_integral_value() or exact < 0:
        raise ValueError(f"{text} US dollars per unit is no whole number of nano-USD per million")
    return int(exact)


def card_of(row: Mapping[str, str]) -> Card | None:
    """Return a row as a card, or None where what is billed is not what the invocation log counts."""
    tiers: Tiers = {}
    step: Tiers = {}
    above = 0
    for field, value in row.items():
        found = _FIELD.fullmatch(field)
        kind = KINDS.get(found[1]) if found else None
        if found is None or kind is None:
            continue
        price = nano_usd_per_million(value)
        if kind in ("input_image", "request") and price == 0:
            continue
        tier = TIERS[found[3] or ""]
        if found[2] is None:
            tiers.setdefault(tier, {})[kind] = price
        else:
            above = int(found[2]) * 1000
            step.setdefault(tier, {})[kind] = price
    default = tiers.get("default", {})
    if "request" in default:
        if row["mode"] != "rerank":
            return None
        # Tokens that cost nothing beside a price per request say that only requests are billed.
        default = tiers["default"] = {kind: price for kind, price in default.items() if price}
    by_media = any(field.startswith("input_cost_per_video") for field in row)
    if not any(default.values()) or (by_media and "input" not in default):
        return None
    card: Card = {"tiers": _sorted(tiers)}
    if step:
        card |= {"above": above, "step": _sorted(step)}
    if by_media or "input_image" in default:
        card["assumes"] = ["input-media-not-counted"]
    return card


def _sorted(tiers: Tiers) -> Tiers:
    order = list(dict.fromkeys(KINDS.values()))
    names = list(TIERS.values())
    return {
        tier: dict(sorted(tiers[tier].items(), key=lambda item: order.index(item[0])))
        for tier in sorted(tiers, key=names.index)
    }


def snapshot(rows: upstream.Rows, day: str, corrections: Iterable[Mapping[str, Any]]) -> Cards:
    """Return all cards as they are on ``day``.

    Raises:
        ValueError: A correction no longer fits what upstream says.
    """
    cards: Cards = {}
    for key, periods in rows.items():
        begun = [first for first in periods if first <= day]
        place = place_of(key)
        card = card_of(periods[max(begun)]) if begun and place else None
        if card is not None and place is not None and ("/" not in key or place[1] not in cards.get(place[0], {})):
            cards.setdefault(place[0], {})[place[1]] = card
    for correction in corrections:
        try:
            correct(cards, correction)
        except (KeyError, ValueError) as problem:
            raise ValueError(f"correction {correction['id']} no longer fits: {problem!r}") from problem
    for scopes in cards.values():
        complete(scopes)
    return {model: dict(sorted(cards[model].items())) for model in sorted(cards) if cards[model]}


def correct(cards: Cards, correction: Mapping[str, Any]) -> None:
    """Apply one correction; each has to change something, else it has outlived its cause."""
    match correction["do"]:
        case "list-is-global":
            for model in correction["models"]:
                scopes = cards[model]
                if scopes[LIST]["tiers"]["default"]["input"] >= scopes["us"]["tiers"]["default"]["input"]:
                    raise ValueError(f"{model}: the bare price is not below that of us")
                scopes.setdefault(GLOBAL, scopes[LIST])
                scopes[LIST] = scopes["us"]
        case "set":
            prices = {
                tier: {kind: nano_usd_per_million(str(Decimal(usd) / 1_000_000)) for kind, usd in kinds.items()}
                for tier, kinds in correction["prices"].items()
            }
            card: Card = {"tiers": _sorted(prices)}
            if "assumes" in correction:
                card["assumes"] = correction["assumes"]
            scopes = cards.setdefault(correction["model"], {})
            if scopes.keys() & set(correction["scopes"]):
                raise ValueError("upstream has such a card now")
            scopes.update({scope: dict(card) for scope in correction["scopes"]})
        case "drop":
            del cards[correction["model"]][correction["scope"]]
        case "assume":
            for model in correction["models"]:
                for card in cards[model].values():
                    card["assumes"] = [*card.get("assumes", ()), *correction["codes"]]
        case unknown:
            raise ValueError(f"what is {unknown!r}?")


def complete(scopes: dict[str, Card]) -> None:
    """Give a card what only its neighbours say: tiers, the 1-hour write, the step.

    Upstream fills rows unevenly. A neighbour is the same model in another scope whose prices are the same wherever both
    have one, so that what it has in addition holds here too. Kinds of the default tier are taken only beside ones that
    agree; two neighbours that contradict each other give nothing.
    """
    names = sorted(scopes)
    held = {name: json.loads(json.dumps(scopes[name])) for name in names}
    for name in names:
        card = scopes[name] = json.loads(json.dumps(held[name]))
        neighbours = [held[other] for other in names if other != name and _agree(held[other], held[name])]
        for part in ("tiers", "step"):
            offered: dict[tuple[str, str], set[int]] = {}
            for neighbour in neighbours:
                for tier, kinds in neighbour.get(part, {}).items():
                    for kind, price in kinds.items():
                        offered.setdefault((tier, kind), set()).add(price)
            for (tier, kind), prices in offered.items():
                if len(prices) == 1 and kind not in card.get(part, {}).get(tier, {}):
                    card.setdefault(part, {}).setdefault(tier, {})[kind] = min(prices)
            if part in card:
                card[part] = _sorted(card[part])
        steps = {neighbour["above"] for neighbour in neighbours if "above" in neighbour}
        if "step" in card and "above" not in card:
            if len(steps) == 1:
                card["above"] = min(steps)
            else:
                del card["step"]


def _agree(one: Card, other: Card) -> bool:
    if one.get("assumes") != other.get("assumes") or (
        "above" in one and one["above"] != other.get("above", one["above"])
    ):
        return False
    mine, theirs = one["tiers"]["default"], other["tiers"]["default"]
    if not {"input", "output"} <= mine.keys() & theirs.keys():
        return False
    both = [
        (one[part][tier][kind], other[part][tier][kind])
        for part in ("tiers", "step")
        for tier in one.get(part, {}).keys() & other.get(part, {}).keys()
        for kind in one[part][tier].keys() & other[part][tier].keys()
    ]
    return all(left == right for left, right in both)


def book_of(document: Mapping[str, Any], corrections: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the book that upstream's slice and the corrections make."""
    rows: upstream.Rows = document["rows"]
    days = sorted({first for periods in rows.values() for first in periods})
    cards: dict[str, dict[str, list[Card]]] = {}
    for day in days:
        from_ms = int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 1000
        for model, scopes in snapshot(rows, day, corrections).items():
            for scope, card in scopes.items():
                periods = cards.setdefault(model, {}).setdefault(scope, [])
                if not periods or {**periods[-1], "from_ms": 0} != {**card, "from_ms": 0}:
                    periods.append({"from_ms": from_ms, **card})
    digest = hashlib.sha256(json.dumps(cards, sort_keys=True).encode()).hexdigest()
    return {
        "schema": SCHEMA,
        "notice": "Made by `make prices`; unit: nano-USD per million tokens, images or requests. Prices come from "
        "litellm, trimmed and corrected, under the licence below.",
        "version": f"{document['day']}.{digest[:8]}",
        "source": {key: document[key] for key in ("version", "day", "wheel_sha256", "file", "file_sha256")},
        "upstream_sha256": _sha256(upstream.SLICE),
        "corrections_sha256": _sha256(CORRECTIONS),
        "licence": document["licence"],
        "cards": cards,
    }


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def text_of(book: Mapping[str, Any]) -> str:
    """Return the book as its file has it: one line a card."""
    head = json.dumps({key: value for key, value in book.items() if key != "cards"}, indent=1)[:-2]
    models = []
    for model, scopes in book["cards"].items():
        lines = [f"{json.dumps(scope)}:{json.dumps(card, separators=(',', ':'))}" for scope, card in scopes.items()]
        models.append(f"{json.dumps(model)}:{{\n" + ",\n".join(lines) + "}")
    return head + ',\n "cards": {\n' + ",\n".join(models) + "\n}}\n"


def made() -> str:
    """Return the text of the book that the committed inputs make; touches no network."""
    return text_of(book_of(upstream.read(), json.loads(CORRECTIONS.read_text(encoding="utf-8"))))


def main() -> int:
    """Command line; see the head of this file."""
    options = argparse.ArgumentParser(description="Make the price book.")
    options.add_argument("--fetch", action="store_true", help="first download the pinned litellm wheel with pip")
    if options.parse_args().fetch:
        upstream.fetch()
    text = made()
    held = BOOK.read_text(encoding="utf-8") if BOOK.exists() else ""
    BOOK.write_text(text, encoding="utf-8")
    book = json.loads(text)
    count = sum(len(scopes) for scopes in book["cards"].values())
    state = "as it was" if text == held else "changed"
    print(f"{BOOK.name} {book['version']}: {len(book['cards'])} models, {count} cards, {len(text) // 1000} kB, {state}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
