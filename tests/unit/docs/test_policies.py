"""Policies that the documents give away: a `*` spans slashes in IAM, so each names stage, method and tenant."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.unit.docs.test_docs import ROOT, fences

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
API = re.compile(
    r"arn:aws:execute-api:REGION:ACCOUNT:[A-Z_]+"
    r"/\$default/(?:GET|POST|PUT|DELETE)/v1/tenants/(?:[a-z]+|\$\{aws:PrincipalTag/tenant\})"
    r"/(?:quota|usage|explanation|reservations|reservations/\*)"
)
"""The one ``*`` there may be stands at the end, below the tenant."""


def statements(document: Path) -> list[dict[str, Any]]:
    """Every JSON example that is a statement of a policy, or those of one that is a whole policy."""
    examples = [json.loads(one) for one in fences(document, "json") if '"Effect"' in one]
    found = [statement for one in examples for statement in one.get("Statement", [one])]
    assert all(set(one) <= {"Sid", "Effect", "Principal", "Action", "Resource", "Condition"} for one in found)
    return found


def resources_of(statement: dict[str, Any]) -> list[str]:
    found = statement["Resource"]
    return [found] if isinstance(found, str) else found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda one: one.name)
def test_statements_about_the_api_name_stage_method_and_tenant(document: Path) -> None:
    for statement in statements(document):
        if "execute-api:Invoke" in statement["Action"]:
            assert all(API.fullmatch(one) for one in resources_of(statement)), statement


def test_there_are_such_statements_and_a_wide_one_would_be_noticed() -> None:
    every = [one for document in DOCUMENTS for one in statements(document)]
    assert sum("execute-api:Invoke" in one["Action"] for one in every) == 2
    for wide in ("$default/*/v1/tenants/acme/quota", "*/GET/v1/tenants/acme/quota", "$default/GET/v1/tenants/*/quota",
                 "$default/GET/v1/tenants/acme/*", "*"):  # fmt: skip
        assert not API.fullmatch(f"arn:aws:execute-api:REGION:ACCOUNT:API/{wide}"), wide


def test_a_statement_that_lets_a_service_use_a_key_says_for_which_group() -> None:
    keys = [one for document in DOCUMENTS for one in statements(document) if "kms:Decrypt*" in one["Action"]]
    assert len(keys) == 1
    (found,) = keys
    assert set(found["Principal"]) == {"Service"}
    assert "log-group:GROUP" in json.dumps(found["Condition"])
