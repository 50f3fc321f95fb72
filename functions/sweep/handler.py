"""Looks, each minute, at what no change tells: throttles that end, events that still wait, rises nobody judged."""

from bedrock_meter import coldstart  # isort: skip - first, see there

from functools import partial
from typing import TYPE_CHECKING, Any

from bedrock_meter.alerts.evaluator import Evaluated
from bedrock_meter.alerts.wiring import review, worklist
from bedrock_meter.errors import DeliverAgain
from bedrock_meter.observability import logger, metrics
from bedrock_meter.reporting import count_evaluated
from bedrock_meter.settings import Tables, required
from bedrock_meter.storage.dynamodb import client, connection

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

_dynamodb = connection()
_tables = Tables.from_environment("quotas", "tenants")
_worklist = worklist(_dynamodb, partial(client, "events"), _tables, required("EVENT_BUS"))
_review = review(_dynamodb, _worklist, _tables)


@metrics.log_metrics
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: "LambdaContext") -> None:
    """Work through what is due, then through this minute's part of all gauges.

    Ends in an error if an item failed, after all others were done.
    """
    report = Evaluated()
    failures = _worklist.sweep(report, context.get_remaining_time_in_millis)
    failures += _review.run(report, context.get_remaining_time_in_millis)
    count_evaluated(report)
    for failure in failures:
        logger.error("an item could not be handled", item=failure.item, exc_info=failure.error)
    if failures:
        raise DeliverAgain(f"{len(failures)} items could not be handled; they are tried again")


coldstart.ready()
