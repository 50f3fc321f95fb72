"""The template as data: short CloudFormation tags become what they stand for, nothing else is interpreted."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from bedrock_meter.local.packaging import load_template as read_template

TEMPLATE = Path(__file__).resolve().parents[2] / "template.yaml"


@lru_cache
def load_template(path: Path = TEMPLATE) -> Any:
    """Return the parsed template; treat it as read-only."""
    return read_template(path.read_text(encoding="utf-8"))


def resources(kind: str) -> dict[str, Any]:
    """Resources of one type, by logical id."""
    return {name: found for name, found in load_template()["Resources"].items() if found["Type"] == kind}


def properties(logical_id: str) -> Any:
    """Properties of one resource."""
    return load_template()["Resources"][logical_id]["Properties"]


FUNCTIONS = {
    "RecordUsageFunction": "record_usage",
    "RecordObjectsFunction": "record_objects",
    "RedriveFailuresFunction": "redrive_failures",
    "EvaluateQuotasFunction": "evaluate_quotas",
    "SweepFunction": "sweep",
    "SyncProfilesFunction": "sync_profiles",
    "QuotaApiFunction": "quota_api",
    "ReportApiFunction": "report_api",
    "AdminApiFunction": "admin_api",
}
"""Logical id of each function and its folder."""


def environment(function: str) -> dict[str, Any]:
    """Environment variables of a function, the global ones included."""
    shared = load_template()["Globals"]["Function"]["Environment"]["Variables"]
    return {**shared, **properties(function)["Environment"]["Variables"]}


def words(value: Any) -> str:
    """An intrinsic function in a line: ``LedgerTable.Arn``, ``LedgerTable``, the text of a Sub, or the value itself."""
    if isinstance(value, dict):
        (name, argument), *rest = value.items()
        assert not rest, value
        if name == "Fn::GetAtt":
            return ".".join(argument)
        if name == "Fn::Sub":
            return str(argument if isinstance(argument, str) else argument[0])
        if name == "Fn::If":
            return f"{words(argument[1])} if {argument[0]} else {words(argument[2])}"
        assert name == "Ref", value
        return str(argument)
    return str(value)


def as_list(value: Any) -> list[Any]:
    """One or many, as CloudFormation and IAM allow, always as a list."""
    return value if isinstance(value, list) else [value]


def statements(role: str) -> list[dict[str, Any]]:
    """All policy statements of a role, conditional ones included."""
    found: list[dict[str, Any]] = []
    for policy in properties(role)["Policies"]:
        for statement in policy["PolicyDocument"]["Statement"]:
            found.append(statement["Fn::If"][1] if "Fn::If" in statement else statement)
    return found
