"""Follows application inference profiles and their tags: each hour all of them, one when CloudTrail tells of it."""

from bedrock_meter import coldstart  # isort: skip - first, see there

from typing import TYPE_CHECKING, Any

from bedrock_meter.errors import DeliverAgain
from bedrock_meter.observability import count, logger, metrics
from bedrock_meter.settings import Tables, required
from bedrock_meter.storage.synchronisation import service_quota, synchroniser
from bedrock_meter.tenants.synchronisation import LAST_CALL_MS, Synchronised, fullness_percent, profiles_named

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

_tables = Tables.from_environment("tenants")
_tag_key = required("TENANT_TAG_KEY")


@metrics.log_metrics
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: "LambdaContext") -> None:
    """Follow what is there now. Ends in an error if a profile failed, after all others were done."""
    remaining_ms = context.get_remaining_time_in_millis

    def may_wait(seconds: float) -> bool:
        return remaining_ms() > LAST_CALL_MS + seconds * 1000

    partition, _, region, account = context.invoked_function_arn.split(":")[1:5]
    here = f"arn:{partition}:bedrock:{region}:{account}:"
    work = synchroniser(_tables, tag_key=_tag_key, here=here, by=context.function_name, may_wait=may_wait)
    report = Synchronised()
    named = profiles_named(event)
    if named is None:
        work.run(report, remaining_ms)
        maximum, why = service_quota(may_wait).maximum()
        used_percent = fullness_percent(report.listed or 0, maximum)
        if used_percent is None:
            count("ProfileQuotaUnknown", 1)
            logger.warning("the service quota of inference profiles cannot be read", reason=why)
        else:
            count("ProfileQuotaUsedPercent", used_percent)
    for profile in named or ():
        work.run_one(report, profile)
    count("ProfileFindings", len(report.findings))
    logger.info(
        "profiles were followed",
        counts=report.counts,
        listed=report.listed,
        is_complete=report.is_complete,
        findings=report.findings,
    )
    if report.failures:
        logger.error("profiles could not be followed", failures=report.failures)
        raise DeliverAgain(f"{len(report.failures)} profiles could not be followed; the next run tries again")


coldstart.ready()
