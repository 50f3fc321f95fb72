"""Whether one policy lets somebody do one thing, as far as the document alone can tell.

Not IAM: no boundaries, no organisation's policies, and of conditions only those on the source. A yes may still be
denied elsewhere; a no to a service is one, because a service has no other way in.
"""

import re
from collections.abc import Callable, Iterator, Mapping
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


def allows(policy: Mapping[str, Any], action: str, resource: str) -> bool:
    """Whether a policy allows ``action`` on ``resource`` to whoever it is of, under whatever condition.

    What it denies is not looked at, and a variable in it may stand for anything.
    """
    return any(
        statement.get("Effect") == "Allow" and _covers(statement, action, resource)
        for statement in _list_of_maps(policy.get("Statement"))
    )


def services_allowed(policy: Mapping[str, Any], action: str, resource: str) -> list[str]:
    """Return the services, or ``*``, to which a resource's policy allows ``action`` on ``resource``."""
    found: list[str] = []
    for statement in _list_of_maps(policy.get("Statement")):
        if statement.get("Effect") == "Allow" and _covers(statement, action, resource):
            found += _principals(statement)
    return sorted(set(found))


def keeps_to_service(policy: Mapping[str, Any], service: str, action: str, resource: str) -> bool:
    """Whether a resource's policy denies ``action`` to everybody but one service.

    Known is one form, which docs/operations.md gives: a Deny for all, unless ``aws:PrincipalServiceName`` is the
    service.
    """
    return any(
        statement.get("Effect") == "Deny"
        and _covers(statement, action, resource)
        and "*" in _principals(statement)
        and _is_unless(statement, "aws:principalservicename", service)
        for statement in _list_of_maps(policy.get("Statement"))
    )


def _is_unless(statement: Mapping[str, Any], key: str, value: str) -> bool:
    """Whether a statement's only condition is that a key has not this value."""
    condition = statement.get("Condition")
    if not isinstance(condition, Mapping) or len(condition) != 1:
        return False
    ((operator, said),) = condition.items()
    if str(operator).lower().removesuffix("ifexists") not in ("stringnotequals", "stringnotlike"):
        return False
    return isinstance(said, Mapping) and [(str(name).lower(), _list(values)) for name, values in said.items()] == [
        (key, [value])
    ]


def _principals(statement: Mapping[str, Any]) -> list[str]:
    principal = statement.get("Principal")
    if not isinstance(principal, Mapping):
        return _list(principal)
    return [one for names in principal.values() for one in _list(names)]


def _covers(statement: Mapping[str, Any], action: str, resource: str) -> bool:
    return _is_named(statement, "Action", action.lower(), str.lower) and _is_named(statement, "Resource", resource, str)


def _is_named(statement: Mapping[str, Any], member: str, value: str, spelled: Callable[[str], str]) -> bool:
    if f"Not{member}" in statement:
        return not any(_matches(value, spelled(one)) for one in _list(statement[f"Not{member}"]))
    return any(_matches(value, spelled(one)) for one in _list(statement.get(member)))


def _matches(value: str, pattern: str) -> bool:
    """Compare as IAM does: ``*`` and ``?`` alone are special, and a variable is taken for anything."""
    signs = {"*": ".*", "?": "."}
    parts = re.split(r"(\$\{[^}]*\}|[*?])", pattern)
    return (
        re.fullmatch("".join(".*" if one.startswith("${") else signs.get(one, re.escape(one)) for one in parts), value)
        is not None
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
