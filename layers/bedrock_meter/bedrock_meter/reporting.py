"""What every function that takes records in writes about it: the counters that have to add up, over all of them."""

from bedrock_meter.observability import count, logger
from bedrock_meter.usage.ingestion import Ingested


def count_ingested(report: Ingested) -> None:
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
    if report.drifted:
        logger.warning("records of an unknown schema version were read as if it were known", records=report.drifted)
    if report.reasons:
        logger.warning("records went to quarantine", reasons=report.reasons)
