"""What docs/pricing.md lists is what the code and the data have."""

import json
import re
from collections import Counter
from pathlib import Path

from bedrock_meter.pricing.book import load_book
from bedrock_meter.pricing.file import TIERS, TOKEN_KINDS, UNIT_KINDS, load
from bedrock_meter.pricing.rating import ASSUMPTIONS
from prices import crosscheck, generate, upstream

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "pricing.md").read_text(encoding="utf-8")


def section(heading: str) -> str:
    found = re.search(rf"^##+ {heading}\n(.*?)(?=^##|\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found is not None, heading
    return found[1]


def first_words(text: str) -> list[str]:
    cells = re.findall(r"^\| ([^|]*) \|", text, re.MULTILINE)
    return [word for cell in cells for word in re.findall(r"`([^`]+)`", cell)]


def test_every_assumption_is_explained_in_its_order() -> None:
    assert first_words(section("What the record cannot tell")) == list(ASSUMPTIONS)


def test_every_correction_is_told() -> None:
    corrections = json.loads(generate.CORRECTIONS.read_text(encoding="utf-8"))
    assert set(first_words(section("Known corrections"))) == {one["id"] for one in corrections}


def test_the_sample_file_is_one(tmp_path: Path) -> None:
    (sample,) = re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    file = tmp_path / "prices.yaml"
    file.write_text(sample, encoding="utf-8")
    assert len(load(file)) == 4
    described = section("Your own prices")
    for word in (*TOKEN_KINDS, *UNIT_KINDS, *TIERS[1:]):
        assert f"`{word}`" in described, word


def test_the_figures_are_those_of_the_book() -> None:
    book = load_book()
    cards = sum(len(scopes) for scopes in book.cards.values())
    assert f"{len(book.cards)} models, {cards} cards" in section("The book")
    assert set(re.findall(r"\d{4}-\d\d-\d\d\.[0-9a-f]{8}", TEXT)) == {book.version}
    counts = Counter(row.state for row in crosscheck.checked())
    told = " ".join(section("A second opinion").split())
    for number, words in (
        (counts["agrees"], "agree"),
        (counts["explained"], "differ"),
        (counts["only here"], "are in"),
    ):
        assert f"{number} {words}" in told
    pin = upstream.pinned()
    for name in ("NOTICE", "docs/dependencies.md"):
        assert f"version {pin.version}, taken on {pin.day}" in (ROOT / name).read_text(encoding="utf-8")
