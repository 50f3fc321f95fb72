"""Answers what a tenant may still use."""

from bedrock_meter import coldstart  # isort: skip - first, see there

from typing import TYPE_CHECKING, Any

from bedrock_meter.api.quota import quota_api
from bedrock_meter.observability import count_once, logger
from bedrock_meter.settings import required
from bedrock_meter.storage.dynamodb import client

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


def _storage_failed(code: str) -> None:
    count_once("QuotaReadsFailed")
    logger.error("the quota cannot be read", code=code)


_api = quota_api(client("dynamodb"), required("QUOTAS_TABLE"), failed=_storage_failed)


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Route one request."""
    return _api.resolve(event, context)


coldstart.ready()
