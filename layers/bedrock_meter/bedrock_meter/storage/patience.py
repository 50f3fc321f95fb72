"""Requests that a person waits for: sent again for a while where they meet other writers or a throttle.

For commands and what administrators change. Recorders do not use this: they have a time-out, and somebody who delivers
again.
"""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from bedrock_meter.storage.dynamodb import AWS_ERRORS, error_code, is_passing

ATTEMPTS = 8
_BACKOFF_S = 0.05

T = TypeVar("T")


def patiently(send: Callable[[], T]) -> T:
    """Send a request, up to eight times within about six seconds; the last failure is raised."""
    for attempt in range(ATTEMPTS - 1):
        try:
            return send()
        except AWS_ERRORS as error:
            if not is_passing(error):
                raise
            time.sleep(random.random() * _BACKOFF_S * 2**attempt)
    return send()


def written(send: Callable[[], object]) -> bool:
    """Send a conditional write as ``patiently`` does; False if its condition did not hold, so that nothing changed."""
    try:
        patiently(send)
    except AWS_ERRORS as error:
        if error_code(error) == "ConditionalCheckFailedException":
            return False
        raise
    return True
