"""The three things that the template asks of AWS and that a local stack cannot give. All else is deployed as it is.

* It speaks plain HTTP (on loopback only), so no policy there may demand TLS.
* It checks policies, but does not know the condition key ``events:source``: a statement with it would never allow.
* It does not know what a request to Bedrock is about: a statement that names Bedrock's resources would never allow.
"""

from collections.abc import Iterator
from typing import Any

SECURE_TRANSPORT = "aws:SecureTransport"
UNKNOWN_KEYS = frozenset({"events:source"})
UNKNOWN_RESOURCES = "bedrock:"
"""Actions whose resources it cannot tell."""


def concede(template: dict[str, Any]) -> None:
    """Take both out of the template's policies; a policy that says nothing any more is removed."""
    resources = template["Resources"]
    for name, resource in list(resources.items()):
        for document in _policy_documents(resource):
            statements = [one for one in document["Statement"] if not _demands_tls(one)]
            if not statements:
                del resources[name]
                break
            document["Statement"] = statements
            for statement in statements:
                _drop_unknown_keys(statement)
                _drop_unknown_resources(statement)


def _policy_documents(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if isinstance(value.get("Statement"), list):
            yield value
        else:
            for part in value.values():
                yield from _policy_documents(part)
    elif isinstance(value, list):
        for part in value:
            yield from _policy_documents(part)


def _demands_tls(statement: dict[str, Any]) -> bool:
    return statement.get("Effect") == "Deny" and any(SECURE_TRANSPORT in keys for keys in _operators(statement))


def _operators(statement: dict[str, Any]) -> list[dict[str, Any]]:
    return list(statement.get("Condition", {}).values())


def _drop_unknown_keys(statement: dict[str, Any]) -> None:
    condition = statement.get("Condition", {})
    for operator, keys in list(condition.items()):
        for key in UNKNOWN_KEYS.intersection(keys):
            del keys[key]
        if not keys:
            del condition[operator]
    if not condition:
        statement.pop("Condition", None)


def _drop_unknown_resources(statement: dict[str, Any]) -> None:
    actions = statement.get("Action", [])
    actions = [actions] if isinstance(actions, str) else actions
    if actions and all(isinstance(one, str) and one.startswith(UNKNOWN_RESOURCES) for one in actions):
        statement["Resource"] = "*"
