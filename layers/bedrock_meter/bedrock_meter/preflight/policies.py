"""Whether a resource's own policy lets a service do one thing, as far as the document alone can tell.

Not IAM: no boundaries, no organisation's policies, and of conditions only those on the source. A yes may still be
denied elsewhere; a no is one, because a service has no other way in.
"""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

_SOURCE_ARN = "aws:sourcearn"
_SOURCE_ACCOUNT = "aws:sourceaccount"


def lets_service(
    policy: Mapping[str, Any], service: str, action: str, *, source_arn: str = "", account: str = ""
) -> bool:
    """Whether a policy allows ``action`` to a service, called on behalf of a source.

    Args:
        policy: Policy document of a role's trust or of a function.
        service: For example ``logs.amazonaws.com``; its Regional name counts as well.
        action: For example ``lambda:InvokeFunction``.
        source_arn: What the service calls for; empty where that is not known.
        account: Account of the source.
    """
    return any(
        _names_service(statement, service)
        and any(fnmatchcase(action.lower(), one.lower()) for one in _list(statement.get("Action")))
        and _is_met(statement, _SOURCE_ARN, source_arn)
        and _is_met(statement, _SOURCE_ACCOUNT, account)
        for statement in _list_of_maps(policy.get("Statement"))
        if statement.get("Effect") == "Allow"
    )


def _names_service(statement: Mapping[str, Any], service: str) -> bool:
    principal = statement.get("Principal")
    names = _list(principal.get("Service")) if isinstance(principal, Mapping) else []
    head, _, tail = service.partition(".")
    return any(one == service or (one.startswith(f"{head}.") and one.endswith(f".{tail}")) for one in names)


def _is_met(statement: Mapping[str, Any], key: str, value: str) -> bool:
    condition = statement.get("Condition")
    blocks = condition.values() if isinstance(condition, Mapping) else ()
    patterns = [
        one
        for block in blocks
        if isinstance(block, Mapping)
        for name, said in block.items()
        if str(name).lower() == key
        for one in _list(said)
    ]
    return not value or not patterns or any(fnmatchcase(value, pattern) for pattern in patterns)


def _list(value: Any) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else [] if value is None else [str(value)]


def _list_of_maps(value: Any) -> Iterator[Mapping[str, Any]]:
    yield from (one for one in (value if isinstance(value, list) else [value]) if isinstance(one, Mapping))
