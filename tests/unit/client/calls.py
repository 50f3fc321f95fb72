"""The call that guarded clients make in these tests, what is held for it, and the one reservation that it got."""

from typing import Any

from bedrock_meter.client import estimate
from tests.doubles.quota import MODEL, QuotaService

MESSAGES = [{"role": "user", "content": [{"text": "hello"}]}]
CALL: dict[str, Any] = {"modelId": MODEL, "messages": MESSAGES, "inferenceConfig": {"maxTokens": 100}}
ESTIMATE = {"requests": 1, **estimate("Converse", CALL).estimate()}
TOKENS = ESTIMATE["input_tokens"] + 100


def only(quota: QuotaService) -> Any:
    """Return the one reservation that there is."""
    (held,) = quota.held.values()
    return held
