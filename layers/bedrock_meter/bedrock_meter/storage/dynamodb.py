"""The low-level ways to DynamoDB, its typed values, and what its failures mean.

The hot paths ask over a ``Connection``, commands over botocore's client; requests, answers and exceptions are the same.
Neither validates parameters: our own builders make the requests. What is retried where: both repeat requests that
failed in transport or were throttled, under the same idempotency token; neither repeats a cancelled transaction, which
is the recorder's decision.
"""

from collections.abc import Iterator
from typing import Any

from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionError, HTTPClientError
from botocore.session import Session, get_session

from bedrock_meter.storage.connection import THROTTLED_CODES, Connection, connected

Item = dict[str, dict[str, Any]]

_CONFIG = Config(
    parameter_validation=False,
    connect_timeout=2,
    read_timeout=5,
    retries={"mode": "standard", "total_max_attempts": 3},
    tcp_keepalive=True,
)

_QUICK = _CONFIG.merge(Config(connect_timeout=1, read_timeout=2, retries={"mode": "standard", "total_max_attempts": 2}))
"""For somebody who waits for an answer: an outage is known within seven seconds, while the function lives."""

PASSING_CODES = THROTTLED_CODES | {
    "InternalServerError",
    "ItemCollectionSizeLimitExceededException",
    "LimitExceededException",
    "ServiceUnavailable",
    "TransactionConflictException",
    "TransactionInProgressException",
}

AWS_ERRORS = (ClientError, ConnectionError, HTTPClientError)
"""What a request can end with: refused by the service, or lost on the way."""

_KEY_RANGE = "KeyRangeThroughputExceeded"
"""How a reason ends where one range of keys is throttled; before it stand the resource and ``Read`` or ``Write``."""

_REASONS = ("ThrottlingReasons", "throttlingReasons")
"""The list of reasons in a refusal; ``ThrottlingException`` writes it small."""

_THROTTLED_PARTS = frozenset({"ProvisionedThroughputExceeded", "ThrottlingError"})
"""Codes of a cancelled transaction's parts that were throttled. Reasons are given for none of them."""

_session: Session | None = None


def session() -> Session:
    """The one botocore session of this process: a second one would load its data files again."""
    global _session  # noqa: PLW0603 - one per process, on purpose
    if _session is None:
        _session = get_session()
    return _session


def client(service: str = "dynamodb", config: Config | None = None, *, is_quick: bool = False) -> Any:
    """Return a client; the endpoint and Region come from the standard AWS settings.

    Args:
        service: Of AWS.
        config: Instead of the usual settings.
        is_quick: Give up early, for functions whose caller waits.
    """
    return session().create_client(service, config=config or (_QUICK if is_quick else _CONFIG))


def connection(*, is_quick: bool = False) -> Connection:
    """Return a connection to DynamoDB with the settings of a client.

    Args:
        is_quick: Give up early, for functions whose caller waits.
    """
    return connected(client(is_quick=is_quick), session())


def text(value: str) -> dict[str, Any]:
    """A string value."""
    return {"S": value}


def number(value: int) -> dict[str, Any]:
    """A number value. Integers only: nothing here is ever rounded."""
    return {"N": str(value)}


def get_text(item: Item, name: str, default: str = "") -> str:
    """Read a string attribute."""
    value = item.get(name)
    return default if value is None else str(value["S"])


def get_number(item: Item, name: str, default: int = 0) -> int:
    """Read an integer attribute."""
    value = item.get(name)
    return default if value is None else int(value["N"])


def error_code(error: Exception) -> str:
    """Code of a client error, empty for any other."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""


def failure_name(error: Exception) -> str:
    """What logs and reports call a failure: the code that AWS gave it, else its type. Never its text."""
    return error_code(error) or type(error).__name__


def is_passing(error: Exception) -> bool:
    """Whether the same request may succeed later: throttling, a conflict, a server or transport failure."""
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return error_code(error) in PASSING_CODES or status >= 500
    return isinstance(error, AWS_ERRORS)


def is_throttle(error: BaseException) -> bool:
    """Whether DynamoDB took a request, or a part of a transaction, for one too many; see ``throttled_keys``."""
    return any(
        code in THROTTLED_CODES or code in _THROTTLED_PARTS
        for answer in _refusals(error)
        for code in [answer.get("Error", {}).get("Code"), *_codes_of_parts(answer)]
    )


def throttled_keys(error: BaseException) -> bool | None:
    """Whether the throttle behind an error is one of a single range of keys: of one busy tenant, and of no other.

    Args:
        error: As it was raised, or raised from what DynamoDB answered.

    Returns:
        True where one of the reasons is a range of keys. False where all are something else: the account's quota, or
        a table's. None where no reason is given: of an error that is no throttle, of a transaction's part, or where
        DynamoDB leaves them out.
    """
    given = [one for answer in _refusals(error) for name in _REASONS for one in answer.get(name) or []]
    reasons = [str(one["reason"]) for one in given if one.get("reason")]
    return any(reason.endswith(_KEY_RANGE) for reason in reasons) if reasons else None


def _refusals(error: BaseException) -> Iterator[Any]:
    """What AWS answered, of this error and of those that it was raised from: pynamodb repeats only a part of it."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:  # One that is raised again is its own cause's cause.
        seen.add(id(cause))
        if isinstance(cause, ClientError):
            yield cause.response
        cause = getattr(cause, "cause", None) or cause.__cause__


def _codes_of_parts(answer: Any) -> list[Any]:
    return [part.get("Code") for part in answer.get("CancellationReasons") or []]
