"""Did the model run? Only what surely did not run is released; everything else is held until the log or time decides.

Released in doubt, a call that did run would be usage that nothing held. Held in doubt, quota is missing for minutes.
The first is what a hard limit must not do.
"""

from botocore.exceptions import (
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    NoCredentialsError,
    PartialCredentialsError,
    ProxyConnectionError,
)

_NEVER_SENT = (
    ConnectTimeoutError,
    EndpointConnectionError,
    ProxyConnectionError,
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
)

_REFUSING_IN_STREAM = frozenset({"throttlingException", "validationException"})
"""Events of a stream that say what 429 and 400 say before one; of ConverseStream and InvokeModelWithResponseStream."""

_REFUSING_STATUS = frozenset({400, 401, 403, 404, 405, 409, 413, 415, 429})
_WHILE_RUNNING = frozenset({"ModelErrorException", "ModelTimeoutException", "ModelStreamErrorException"})
"""Client errors by status, but the model was at work: 424 and 408 in the service model."""


def was_refused(status: int, code: str) -> bool:
    """Whether an error answer says that the model did not run.

    True for throttling, validation, missing rights, missing models, exceeded service quotas and models that are not
    ready. False for every 5xx: it may come from behind the model as well as from before it.
    """
    return status in _REFUSING_STATUS and code not in _WHILE_RUNNING


def was_refused_in_stream(code: str, *, has_content: bool) -> bool:
    """Whether an error that ended a stream says that the model did not run.

    Args:
        code: Name of the event that ended it.
        has_content: Whether anything came before it that the model may have made. ``messageStart`` is none.
    """
    return code in _REFUSING_IN_STREAM and not has_content


def was_never_sent(error: BaseException) -> bool:
    """Whether an attempt failed before Bedrock could have seen it: no connection, no credentials.

    A connection that broke, or an answer that did not come in time, may have been a call.
    """
    return isinstance(error, _NEVER_SENT)
