"""Metrics against the runbook: what the code writes has an alarm, or stands where an operator finds what it says."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.unit.docs.test_docs import PACKAGE, ROOT, first_column, template

_WRITERS = {"count", "count_once", "add_metric", "single_metric"}
_WRITTEN_BY = PACKAGE / "observability.py"
"""The one place where a name is a parameter."""


def sources() -> list[Path]:
    """Everything that may write a metric."""
    return [*(ROOT / "functions").rglob("*.py"), *(one for one in PACKAGE.rglob("*.py") if one != _WRITTEN_BY)]


def names_written(source: str) -> Iterator[str | None]:
    """Yield the name of each metric that a module writes; None where it is no plain text."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        is_ours = isinstance(node.func, ast.Name) or called in {"add_metric", "single_metric"}  # not "text".count(...)
        if called in _WRITERS and is_ours:
            named = [one.value for one in node.keywords if one.arg == "name"] or node.args[:1]
            first = named[0] if named else None
            yield first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None


def metrics() -> set[str | None]:
    return {name for path in sources() for name in names_written(path.read_text(encoding="utf-8"))}


def watched() -> set[str]:
    """Names that alarms watch by themselves, and not as a part of an expression."""
    alarms = [one for one in template()["Resources"].values() if one["Type"] == "AWS::CloudWatch::Alarm"]
    ours = [one["Properties"] for one in alarms if one["Properties"].get("Namespace") == "BedrockMeter"]
    return {one["MetricName"] for one in ours}


def test_every_metric_has_an_alarm_or_says_when_to_look_at_it() -> None:
    written = metrics()
    assert None not in written, "a metric's name is a plain text where it is written"
    assert len(written) > 20
    assert written - watched() == first_column(ROOT / "docs" / "operations.md", "Metrics without an alarm")


def test_a_metric_that_is_written_in_any_way_would_be_noticed() -> None:
    source = """
from bedrock_meter.observability import count, count_once, metrics
count("One", 1)
count_once("Two")
metrics.add_metric(name="Three", unit=COUNT, value=1)
metrics.add_metric("Four", COUNT, 1)
with single_metric(name="Five", unit=COUNT, value=1):
    pass
"text".count("x")
count(f"Six{number}", 1)
"""
    assert set(names_written(source)) == {"One", "Two", "Three", "Four", "Five", None}


def test_nobody_writes_metrics_past_the_one_place() -> None:
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert node.module != "aws_lambda_powertools.metrics", path
