"""The document of a run, and the file that keeps its position."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from bedrock_meter.cli.confirming import confirm
from bedrock_meter.cli.progress import Progress
from bedrock_meter.cli.rerate import _run, document_of
from bedrock_meter.cli.rerate_position import Position, Question, load, position_file, report_of, save
from bedrock_meter.local.failures import BadInput, NotAgreed
from bedrock_meter.local.project import STATE_VARIABLE
from bedrock_meter.tenants.attribution import Attribution
from bedrock_meter.usage.ledger import entry_for
from bedrock_meter.usage.packing import Writes
from bedrock_meter.usage.recorder import Refused, UnacceptableWrites
from bedrock_meter.usage.rerating import Difference, Page, Rerated, Rerating
from tests.doubles.memory import MemoryRecordingStore, MemoryTables
from tests.doubles.rater import TestPrices
from tests.doubles.records import NOW_MS, invocation

QUESTION = Question("ledger", 1_794_873_600_000, 1_794_960_000_000, ["acme"], [], "2026-11-25.f043572f+3")
REPORT = Rerated(
    {"acme": {"b": Difference(2, 1_500_000_000, 1, same_cost=1), "a": Difference(1, 0, 2_000_000_000, newly_priced=1)}},
    scanned=9,
    same=3,
    failed=1,
)


def fail(text: str) -> None:
    raise AssertionError(text)


def test_the_document_has_exact_differences_by_tenant_and_model() -> None:
    document = document_of(REPORT, QUESTION, 12, dry_run=True)
    assert document["changed"] == [
        {
            "tenant": "acme",
            "model": "a",
            "entries": 1,
            "same_cost": 0,
            "newly_priced": 1,
            "newly_unpriced": 0,
            "old_cost_usd": "0.00",
            "new_cost_usd": "2.00",
            "difference_usd": "2.00",
        },
        {
            "tenant": "acme",
            "model": "b",
            "entries": 2,
            "same_cost": 1,
            "newly_priced": 0,
            "newly_unpriced": 0,
            "old_cost_usd": "1.50",
            "new_cost_usd": "0.000000001",
            "difference_usd": "-1.499999999",
        },
    ]
    assert (document["old_cost_usd"], document["new_cost_usd"], document["difference_usd"]) == (
        "1.50",
        "2.000000001",
        "0.500000001",
    )
    assert (document["mode"], document["looked_at"], document["write_units"]) == ("dry-run", 7, 2 * 6 + 2)


def test_a_position_is_kept_with_what_was_done_and_found_again(tmp_path: Path) -> None:
    file = tmp_path / "position.json"
    assert load(file, QUESTION, fail) == Position(QUESTION)
    assert report_of(Position(QUESTION)) == Rerated()
    save(file, Position(QUESTION, "a#b#c", msgspec.to_builtins(REPORT)))
    save(file, Position(QUESTION, "a#b#c", msgspec.to_builtins(REPORT)))
    notes: list[str] = []
    found = load(file, QUESTION, notes.append)
    assert (found.after, report_of(found)) == ("a#b#c", REPORT)
    assert "going on" in notes[0]
    assert list(tmp_path.iterdir()) == [file]


def test_a_position_of_other_prices_is_not_gone_on_with(tmp_path: Path) -> None:
    file = tmp_path / "position.json"
    save(file, Position(replace(QUESTION, prices="older"), "a#b#c", msgspec.to_builtins(REPORT)))
    notes: list[str] = []
    assert load(file, QUESTION, notes.append) == Position(QUESTION)
    assert "beginning again" in notes[0]


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b"{}", b'{"question": 1}'])
def test_a_file_without_a_position_is_refused(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "position.json"
    file.write_bytes(content)
    with pytest.raises(BadInput, match="no position"):
        load(file, QUESTION, fail)


@pytest.mark.parametrize(
    "other", [{"ledger": "x"}, {"from_ms": 0}, {"to_ms": 0}, {"tenants": []}, {"models": ["a"]}], ids=str
)
def test_a_file_about_something_else_is_refused(other: dict[str, object], tmp_path: Path) -> None:
    file = tmp_path / "position.json"
    save(file, Position(replace(QUESTION, **other), "a#b#c"))
    with pytest.raises(BadInput, match="another range"):
        load(file, QUESTION, fail)


def test_a_report_that_is_none_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "position.json"
    save(file, Position(QUESTION, "a#b#c", {"same": "many"}))
    with pytest.raises(BadInput, match="no position"):
        load(file, QUESTION, fail)


def test_without_anybody_to_ask_the_price_is_told_and_nothing_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    confirm("It costs 5.", yes=True)
    with pytest.raises(NotAgreed, match=r"It costs 5\. .*--yes"):
        confirm("It costs 5.", yes=False)


def test_another_choice_has_another_position(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path))
    files = {
        position_file("stack", "2026-11-17T00:00Z", end, tenants, models)
        for end in ("2026-11-18T00:00Z", "2026-11-19T00:00Z")
        for tenants, models in (([], []), (["a"], []), ([], ["a"]), (["a", "b"], []))
    }
    assert len(files) == 8
    assert {file.parent for file in files} == {tmp_path}
    assert all(file.name.startswith("rerate_stack_2026-11-17T00-00Z_") for file in files)


class Pages:
    """A ledger of four entries without a cost, one a page; reading the one after ``stops_after`` fails."""

    def __init__(self, stops_after: int = 4) -> None:
        self.tables = MemoryTables()
        owner = Attribution("unattributed", "none", "p", "a.model")
        for number in range(4):
            entry = entry_for(invocation(f"r{number}"), owner, now_ms=NOW_MS, retention_ms=86_400_000)
            self.tables.ledger[entry.key] = entry
        self.stops_after = stops_after
        self.read: list[str] = []

    def pages(self, after: str | None) -> Iterator[Page]:
        keys = sorted(self.tables.ledger)
        for key in keys[keys.index(after) + 1 if after else 0 :]:
            if len(self.read) == self.stops_after:
                raise ConnectionError("gone")
            self.read.append(key)
            yield Page([self.tables.ledger[key]], 1, key if key != keys[-1] else None)


class TakesNot(MemoryRecordingStore):
    """Does not take what is written of one entry."""

    entry = ""

    def commit(self, writes: Writes) -> Refused | None:
        if any(change.entry.key == self.entry for change in writes.changes):
            raise UnacceptableWrites
        return super().commit(writes)


def run(ledger: Pages, file: Path | None, *, takes_not: str = "") -> Rerated:
    store = TakesNot(ledger.tables)
    store.entry = takes_not
    work = Rerating(store, TestPrices(), clock=lambda: NOW_MS, sleep_ms=lambda _: None, uniform=lambda: 0.5)
    position = Position(QUESTION) if file is None else load(file, QUESTION, lambda _: None)
    report = report_of(position)
    _run(work, ledger, position, report, file, Progress())  # type: ignore[arg-type]
    return report


def test_a_run_that_was_stopped_goes_on_and_its_result_tells_of_all(tmp_path: Path) -> None:
    file, ledger = tmp_path / "position.json", Pages(stops_after=3)
    with pytest.raises(ConnectionError):
        run(ledger, file)
    assert file.exists()
    ledger.stops_after = 5
    report = run(ledger, file)
    assert (report.scanned, report.rewritten, report.same) == (4, 4, 0)
    assert ledger.read == sorted(ledger.tables.ledger), "no page twice"
    assert not file.exists()
    ledger.read.clear()
    assert run(ledger, file).same == 4


def test_what_was_refused_before_a_stop_is_told_at_the_end(tmp_path: Path) -> None:
    file, ledger = tmp_path / "position.json", Pages(stops_after=3)
    first = min(ledger.tables.ledger)
    with pytest.raises(ConnectionError):
        run(ledger, file, takes_not=first)
    ledger.stops_after = 5
    report = run(ledger, file)
    assert (report.rewritten, report.refused) == (3, 1), "so the command ends with 1 and says: run it again"
    ledger.read.clear()
    again = run(ledger, file)
    assert (again.rewritten, again.same, again.refused) == (1, 3, 0)


def test_a_dry_run_keeps_no_position(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ledger = Pages()
    before = dict(ledger.tables.ledger)
    assert run(ledger, None).rewritten == 4
    assert ledger.tables.ledger == before
    assert list(tmp_path.iterdir()) == []
