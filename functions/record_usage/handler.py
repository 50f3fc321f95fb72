"""Records what Bedrock logged: one delivery of the invocation log in, usage recorded exactly once."""

from bedrock_meter import coldstart  # isort: skip - first, see there

from functools import partial
from typing import TYPE_CHECKING, Any

from bedrock_meter.invocations.doubt import Origins
from bedrock_meter.observability import MILLISECONDS, logger, metrics
from bedrock_meter.reporting import count_ingested
from bedrock_meter.settings import Tables, optional, required, required_days_ms
from bedrock_meter.storage.dynamodb import client, connection
from bedrock_meter.usage.ingestion import Ingested
from bedrock_meter.usage.wiring import ingestion

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

_ingestion = ingestion(
    connection(),
    partial(client, "s3"),
    Tables.from_environment("ledger", "usage", "quotas", "tenants"),
    required("FAILURE_BUCKET"),
    retention_ms=required_days_ms("LEDGER_RETENTION_DAYS"),
    origins=Origins.configured(required),
    tag_key=optional("PROFILE_TAG_KEY"),
    keeps_sessions=optional("KEEP_SESSION_NAMES") != "false",
)


@metrics.log_metrics
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: "LambdaContext") -> None:
    """Take in one subscription event; Lambda delivers it again if this fails, then keeps it for redrive."""
    report = Ingested()
    try:
        _ingestion.ingest(event, report, context.get_remaining_time_in_millis)
    finally:
        count_ingested(report)
        metrics.add_metric(name="RecordLag", unit=MILLISECONDS, value=report.lag_ms)


coldstart.ready()
