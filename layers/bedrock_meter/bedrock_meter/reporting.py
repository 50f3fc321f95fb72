"""What functions that do the same write about it: counters that have to add up, over all of them."""

from typing import TYPE_CHECKING

from bedrock_meter.observability import count, logger

if TYPE_CHECKING:  # no function does both
    from bedrock_meter.alerts.evaluator import Evaluated
    from bedrock_meter.usage.ingestion import Ingested


def count_ingested(report: "Ingested") -> None:
    """Write the counters of one invocation; ``read = recorded + duplicates + failed + quarantined`` in their sums."""
    count("RecordsRead", report.read)
    count("RecordsRecorded", report.usage.recorded)
    count("RecordsDuplicate", report.usage.duplicates)
    count("RecordsFailed", report.usage.errors)
    count("RecordsQuarantined", report.quarantined)
    count("RecordsUnattributed", report.usage.unattributed)
    count("RecordsUnpriced", report.usage.unpriced)
    count("TransactionConflicts", report.usage.conflicts)
    contradictions = report.usage.contradictions
    if contradictions:  # a metric that is written costs money
        count("AttributionConflicts", sum(contradictions.values()))
        logger.warning("sources of attribution name different tenants; the first was believed", records=contradictions)
    if report.doubted:
        count("RecordsDoubted", report.doubted)
    if report.drifted:
        logger.warning("records of an unknown schema version were read as if it were known", records=report.drifted)
    if report.reasons:
        logger.warning("records went to quarantine", reasons=report.reasons)


def count_evaluated(report: "Evaluated") -> None:
    """Write what became of the events of one invocation, and why the bus did not take some."""
    count("EventsPublished", report.published)
    count("EventsRefused", report.refused)
    count("EventsParked", report.parked)
    if report.reasons:
        logger.warning("the bus did not take all events", reasons=report.reasons)
