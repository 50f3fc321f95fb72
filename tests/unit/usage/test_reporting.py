"""What a delivery writes about itself."""

import json

import pytest
from msgspec.structs import replace

from bedrock_meter import observability, reporting
from bedrock_meter.invocations.probe import PROBE_LINE
from bedrock_meter.usage.ingestion import MAXIMUM_PROBES, Ingested, Ingestion
from bedrock_meter.usage.recorder import MAXIMUM_CONTRADICTIONS, Recorded
from tests.doubles.records import NOW_MS, invocation
from tests.doubles.subscription import record_of, subscription_event


class RecordsNothing:
    """A recorder that takes everything."""

    def record(self, invocations: list[object], report: Recorded, remaining_ms: object) -> None:
        report.recorded += len(invocations)


def test_records_of_an_unknown_schema_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, dict[str, object]]] = []
    monkeypatch.setattr(reporting, "count", lambda name, amount: None)
    monkeypatch.setattr(observability.logger, "warning", lambda text, **values: told.append((text, values)))
    known, unknown = record_of(invocation("r1")), record_of(invocation("r2")) | {"schemaVersion": "2.0"}
    event = subscription_event([json.dumps(known), json.dumps(unknown)], logged_ms=NOW_MS)
    meter = Ingestion(RecordsNothing(), None, retention_ms=400 * 86_400_000, clock=lambda: NOW_MS)  # type: ignore[arg-type]
    report = Ingested()
    meter.ingest(event, report, lambda: 60_000)
    assert (report.read, report.usage.recorded, report.drifted) == (2, 2, 1)
    reporting.count_ingested(report)
    assert [values for _, values in told] == [{"records": 1}]
    reporting.count_ingested(replace(report, drifted=0))
    assert len(told) == 1


def test_contradictions_between_sources_are_counted_and_told_without_content(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, object]] = []
    counted: dict[str, int] = {}
    monkeypatch.setattr(reporting, "count", counted.__setitem__)
    monkeypatch.setattr(observability.logger, "warning", lambda text, **values: told.append(values))
    report = Ingested()
    reporting.count_ingested(report)
    assert "AttributionConflicts" not in counted
    for number in range(MAXIMUM_CONTRADICTIONS + 5):
        report.usage.contradicted(f"profile acme, principal t{number}")
    report.usage.contradicted("profile acme, principal t0")
    reporting.count_ingested(report)
    assert counted["AttributionConflicts"] == MAXIMUM_CONTRADICTIONS + 6
    (values,) = told
    assert values == {"records": report.usage.contradictions}
    assert report.usage.contradictions["profile acme, principal t0"] == 2
    assert report.usage.contradictions["others"] == 5


def test_test_lines_are_noted_after_recording_a_few_at_most_and_counted_nowhere() -> None:
    noted: list[tuple[str, int]] = []

    class Probes:
        def acknowledge(self, nonce: str, now_ms: int) -> None:
            noted.append((nonce, now_ms))

    lines = [f"{PROBE_LINE}{number:032x}" for number in range(MAXIMUM_PROBES + 2)]
    event = subscription_event([invocation("r1"), *lines], logged_ms=NOW_MS)
    meter = Ingestion(
        RecordsNothing(),  # type: ignore[arg-type]
        None,  # type: ignore[arg-type]
        retention_ms=400 * 86_400_000,
        clock=lambda: NOW_MS,
        probes=Probes(),
    )
    report = Ingested()
    meter.ingest(event, report, lambda: 60_000)
    assert (report.read, report.usage.recorded, report.quarantined, report.lines) == (1, 1, 0, 1 + len(lines))
    assert noted == [(f"{number:032x}", NOW_MS) for number in range(MAXIMUM_PROBES)]
