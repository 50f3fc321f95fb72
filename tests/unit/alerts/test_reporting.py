"""What functions that publish write about it."""

import pytest

from bedrock_meter import observability, reporting
from bedrock_meter.alerts.evaluator import Evaluated


def test_events_are_counted_also_when_there_are_none_and_refusals_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: dict[str, int] = {}
    told: list[dict[str, object]] = []
    monkeypatch.setattr(reporting, "count", counted.__setitem__)
    monkeypatch.setattr(observability.logger, "warning", lambda text, **values: told.append(values))
    reporting.count_evaluated(Evaluated())
    assert counted == {"EventsPublished": 0, "EventsRefused": 0, "EventsParked": 0}
    assert told == []
    report = Evaluated(published=3, refused=2, parked=1)
    report.reasons["ThrottlingException"] = 2
    reporting.count_evaluated(report)
    assert counted == {"EventsPublished": 3, "EventsRefused": 2, "EventsParked": 1}
    assert told == [{"reasons": {"ThrottlingException": 2}}]
