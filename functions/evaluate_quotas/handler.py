"""Judges tenants whose usage or limits changed, and publishes what follows."""

from bedrock_meter import coldstart  # isort: skip - first, see there

from functools import partial
from typing import TYPE_CHECKING, Any

from bedrock_meter.alerts.evaluator import Evaluated
from bedrock_meter.alerts.wiring import worklist
from bedrock_meter.observability import logger, metrics
from bedrock_meter.reporting import count_evaluated
from bedrock_meter.settings import Tables, required
from bedrock_meter.storage.dynamodb import client, connection

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

_worklist = worklist(
    connection(), partial(client, "events"), Tables.from_environment("quotas", "tenants"), required("EVENT_BUS")
)


@metrics.log_metrics
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, list[dict[str, str]]]:
    """Evaluate each changed item once; the stream sends those that failed again."""
    changes: dict[tuple[str, str], str] = {}
    for record in event["Records"]:
        keys = record["dynamodb"]["Keys"]
        changes.setdefault((keys["pk"]["S"], keys["sk"]["S"]), record["dynamodb"]["SequenceNumber"])
    report = Evaluated()
    failures = _worklist.handle_all(changes, report)
    count_evaluated(report)
    for failure in failures:
        logger.error("a change could not be evaluated", item=failure.item, exc_info=failure.error)
    return {"batchItemFailures": [{"itemIdentifier": changes[failure.item]} for failure in failures]}


coldstart.ready()
