"""Records what Bedrock logged to S3: one new object of the log in, usage recorded exactly once."""

from bedrock_meter import coldstart  # isort: skip - first, see there

from functools import partial
from typing import TYPE_CHECKING, Any

from bedrock_meter.invocations.doubt import Origins
from bedrock_meter.observability import MILLISECONDS, count, logger, metrics
from bedrock_meter.reporting import count_ingested
from bedrock_meter.settings import Tables, optional, required, required_days_ms
from bedrock_meter.storage.dynamodb import client, connection
from bedrock_meter.usage.objects import ObjectReport
from bedrock_meter.usage.wiring import object_intake

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

_intake = object_intake(
    connection(),
    partial(client, "s3"),
    partial(client, "sqs"),
    Tables.from_environment("ledger", "usage", "quotas", "tenants"),
    required("FAILURE_BUCKET"),
    required("OBJECT_QUEUE"),
    retention_ms=required_days_ms("LEDGER_RETENTION_DAYS"),
    origins=Origins.configured(required),
    tag_key=optional("PROFILE_TAG_KEY"),
    keeps_sessions=optional("KEEP_SESSION_NAMES") != "false",
)


@metrics.log_metrics
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Take in the objects that messages tell of; those that fail stay in the queue."""
    report = ObjectReport()
    failed = []
    for message in event["Records"]:
        try:
            _intake.take_in(message["body"], report, context.get_remaining_time_in_millis)
        except Exception:  # noqa: BLE001 - reported, so that the message comes again
            logger.exception("an object could not be taken in", message_id=message["messageId"])
            failed.append(message["messageId"])
    count("ObjectsRead", report.read)
    count("ObjectsContinued", report.continued)
    count("ObjectsSkipped", report.skipped)
    count_ingested(report.ingested)
    metrics.add_metric(name="RecordLag", unit=MILLISECONDS, value=report.ingested.lag_ms)
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


coldstart.ready()
