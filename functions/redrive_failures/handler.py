"""Takes in, every five minutes, what the recorder could not: deliveries that Lambda gave up on and kept."""

from bedrock_meter import coldstart  # isort: skip - first, see there

from functools import partial
from typing import TYPE_CHECKING, Any

from bedrock_meter.invocations.doubt import Origins
from bedrock_meter.observability import count, logger, metrics
from bedrock_meter.reporting import count_ingested
from bedrock_meter.settings import Tables, optional, required, required_days_ms
from bedrock_meter.storage.dynamodb import client, connection
from bedrock_meter.usage.redrive import Redriven
from bedrock_meter.usage.wiring import redrive

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

_redrive = redrive(
    connection(),
    partial(client, "s3"),
    Tables.from_environment("ledger", "usage", "quotas", "tenants"),
    required("FAILURE_BUCKET"),
    required("RECORD_USAGE_FUNCTION"),
    retention_ms=required_days_ms("LEDGER_RETENTION_DAYS"),
    origins=Origins.configured(required),
    tag_key=optional("PROFILE_TAG_KEY"),
    keeps_sessions=optional("KEEP_SESSION_NAMES") != "false",
)


@metrics.log_metrics
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: "LambdaContext") -> None:
    """Work through the failure store; what is left waits for the next run."""
    report = Redriven()
    try:
        _redrive.run(report, context.get_remaining_time_in_millis)
    finally:
        count("FailuresWaiting", report.waiting)
        if report.redriven or report.parked or report.waiting:  # a metric that is written costs money
            count("FailuresRedriven", report.redriven)
            count("FailuresParked", report.parked)
            count_ingested(report.ingested)
        if report.failures:
            logger.warning("deliveries could not be taken in", failures=report.failures)


coldstart.ready()
