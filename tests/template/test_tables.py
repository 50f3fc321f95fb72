"""The tables: kept whatever happens to the stack, and of the schema that the models in storage/tables.py speak of."""

from typing import Any

import pytest
from pynamodb.attributes import TTLAttribute
from pynamodb.models import Model

from bedrock_meter.storage import tables
from tests.template.reading import load_template, properties, resources

MODELS: list[tuple[str, type[Model]]] = [
    ("LedgerTable", tables.LedgerModel),
    ("UsageTable", tables.UsageModel),
    ("QuotasTable", tables.QuotasModel),
    ("TenantsTable", tables.TenantModel),
    ("TenantsTable", tables.MappingModel),
]


def sorted_keys(keys: Any) -> list[tuple[str, str]]:
    """Key schema in one order; kinds of keys matter, their order in the list does not."""
    return sorted((key["KeyType"], key["AttributeName"]) for key in keys)


def definitions(attributes: Any) -> dict[str, str]:
    """Types of key attributes by name."""
    return {one["AttributeName"]: one["AttributeType"] for one in attributes}


def schema_of_model(model: type[Model]) -> dict[str, Any]:
    """What pynamodb would create for this model."""
    found = model._get_schema()
    return {
        "keys": sorted_keys(found["key_schema"]),
        "types": definitions(found["attribute_definitions"]),
        "indexes": [
            (index["index_name"], sorted_keys(index["key_schema"]), index["projection"])
            for index in found["global_secondary_indexes"]
        ],
        "expiry": [name for name, one in model.get_attributes().items() if isinstance(one, TTLAttribute)],
        "stream": getattr(model.Meta, "stream_view_type", None),
    }


def schema_of_table(table: str) -> dict[str, Any]:
    """What the template creates."""
    found = properties(table)
    expiry = found.get("TimeToLiveSpecification", {"Enabled": False})
    return {
        "keys": sorted_keys(found["KeySchema"]),
        "types": definitions(found["AttributeDefinitions"]),
        "indexes": [
            (index["IndexName"], sorted_keys(index["KeySchema"]), index["Projection"])
            for index in found.get("GlobalSecondaryIndexes", [])
        ],
        "expiry": [expiry["AttributeName"]] if expiry["Enabled"] else [],
        "stream": found.get("StreamSpecification", {}).get("StreamViewType"),
    }


@pytest.mark.parametrize(("table", "model"), MODELS)
def test_schema_is_the_models(table: str, model: type[Model]) -> None:
    assert schema_of_table(table) == schema_of_model(model)


def test_every_table_has_a_model() -> None:
    assert set(resources("AWS::DynamoDB::Table")) == {table for table, _ in MODELS}


@pytest.mark.parametrize("table", sorted({table for table, _ in MODELS}))
def test_table_is_kept_restorable_and_encrypted(table: str) -> None:
    resource = load_template()["Resources"][table]
    assert resource["DeletionPolicy"] == resource["UpdateReplacePolicy"] == "Retain"
    found = resource["Properties"]
    assert found["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert found["SSESpecification"]["SSEEnabled"] is True
    assert found["BillingMode"] == "PAY_PER_REQUEST"
    # A fixed name would keep a new stack from standing beside the table that an old one left.
    assert "TableName" not in found


def test_what_may_hold_prompts_or_lost_usage_is_kept_too() -> None:
    for name in ("FailureBucket", "InvocationLogGroup"):
        resource = load_template()["Resources"][name]
        assert resource["DeletionPolicy"] == resource["UpdateReplacePolicy"] == "Retain", name
