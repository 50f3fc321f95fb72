"""``tenants remove``: what ends a tenant. Forgetting the persons behind it: ``erasing.py``."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bedrock_meter.cli.administering import AdminApi, Api, no_author
from bedrock_meter.cli.deployed import LOCAL, caller, outputs_of_stack, tables_of
from bedrock_meter.cli.office import office_of
from bedrock_meter.cli.options import By, Output, Stack, Yes

if TYPE_CHECKING:
    from bedrock_meter.storage.suspensions import DynamoDBSuspensionStore
    from bedrock_meter.tenants.directory import DirectoryStore
    from bedrock_meter.tenants.offboarding import Actor, Deletion

Tenant = Annotated[str, typer.Argument(help="Id of the tenant.", show_default=False)]


def register(tenants: typer.Typer) -> None:
    """Add the command."""
    tenants.command(
        "remove",
        short_help="End a tenant's mappings; its usage stays.",
        help="End a tenant's mappings, 70 s from now; its usage, limits and history stay. Says what is lost, and asks; "
        "without a terminal it needs --yes (exit code 4). Can be repeated.",
        epilog="Example: bedrock-meter tenants remove acme --delete-profiles --stack bedrock-meter",
    )(remove)


def actor_of(outputs: Mapping[str, str], by: str) -> "Actor":
    """Return who acts now."""
    from bedrock_meter.clock import now_ms
    from bedrock_meter.storage.audit import DynamoDBAuditTrail
    from bedrock_meter.storage.dynamodb import client
    from bedrock_meter.tenants.offboarding import Actor

    return Actor(by, now_ms(), DynamoDBAuditTrail(client("dynamodb"), tables_of(outputs)))


def suspensions(outputs: Mapping[str, str], by: str | None) -> "tuple[DynamoDBSuspensionStore, Actor]":
    """Return what suspending and resuming need."""
    from bedrock_meter.storage.dynamodb import client
    from bedrock_meter.storage.suspensions import DynamoDBSuspensionStore

    return DynamoDBSuspensionStore(client("dynamodb"), tables_of(outputs)), actor_of(outputs, caller(by).by)


def remove(
    tenant: Tenant,
    stack: Stack = LOCAL,
    api: Api = None,
    delete_profiles: Annotated[
        bool, typer.Option("--delete-profiles", help="Delete its profiles in Bedrock, too. Asks first.")
    ] = False,
    tag_key: Annotated[str, typer.Option(metavar="KEY", help="Key of the tag that names the tenant.")] = "tenantId",
    yes: Yes = False,
    by: By = None,
    output: Output = "table",
) -> None:
    """Remove a tenant."""
    if api is not None:
        no_author(by)
        over = AdminApi(api)
        _ask_to_remove(over.overview(tenant), over.tenant(tenant)[0], yes=yes)
        document = _removed_over(over, tenant, tag_key if delete_profiles else None, yes=yes)
    else:
        document = _removed(stack, tenant, tag_key if delete_profiles else None, by, yes=yes)
    if output == "json":
        print(json.dumps(document, indent=2))
    else:
        print(
            f"{tenant}: {len(document['ended'])} mappings end, {len(document['deleted_profiles'])} profiles deleted,"
            f" {len(document['kept_profiles'])} kept without the tag {tag_key}={tenant};"
            f" {'holds from ' + document['effective'] if document['changed'] else 'as it was'}"
        )


def _removed(stack: str, tenant: str, tag_key: str | None, by: str | None, *, yes: bool) -> dict[str, Any]:
    """Remove a tenant in the tables; with a tag's key also its profiles in Bedrock."""
    from bedrock_meter.clock import iso
    from bedrock_meter.storage.directory import DynamoDBDirectoryStore
    from bedrock_meter.storage.dynamodb import client
    from bedrock_meter.storage.tenants import PynamoDBTenantStore
    from bedrock_meter.tenants.offboarding import remove_tenant

    outputs = outputs_of_stack(stack)
    found = office_of(outputs).tenant(tenant)
    if found is not None:
        _ask_to_remove({"removed": found.definition.removed_ms}, found.document, yes=yes)
    who, tables = caller(by), tables_of(outputs)
    store = PynamoDBTenantStore(tables)
    deletion = None
    if tag_key is not None:
        deletion = _deletion(DynamoDBDirectoryStore(client("dynamodb"), tables), tenant, tag_key, yes=yes)
    removed = remove_tenant(store, tenant, actor_of(outputs, who.by), deletion=deletion)
    return {
        "tenant": tenant,
        "changed": removed.changed,
        "ended": list(removed.ended),
        "deleted_profiles": list(removed.deleted),
        "kept_profiles": list(removed.kept),
        "effective": iso(removed.effective_ms),
    }


def _ask_to_remove(overview: Mapping[str, Any], document: Mapping[str, Any], *, yes: bool) -> None:
    """Say what a removal takes away, and ask; not again where the tenant was removed already.

    Raises:
        NotAgreed: It was not agreed to.
    """
    from bedrock_meter.cli.confirming import confirm

    if overview["removed"] is not None:
        return
    names = [str(one["id"]) for one in document["profiles"]] + list(document["principals"])
    leave = f"calls through {', '.join(names)} belong to no tenant" if names else "no call can be its own"
    limits, boosts = len(document["effective"]), len(document["boosts"])
    confirm(
        f"70 s from now {leave}; its limits ({limits}) and boosts that are not over ({boosts}) apply to no call that"
        f" comes after. Remove {document['id']}?",
        yes=yes,
    )


def _removed_over(api: AdminApi, tenant: str, tag_key: str | None, *, yes: bool) -> dict[str, Any]:
    """Remove a tenant over the admin API; with a tag's key its profiles in Bedrock with the caller's own rights."""
    from bedrock_meter.tenants.offboarding import delete_profiles

    deletion = None
    if tag_key is not None:
        from bedrock_meter.cli.adding_over import ApiDirectory, check_region

        check_region(api, caller())
        deletion = _deletion(ApiDirectory(api), tenant, tag_key, yes=yes)
    removed = api.remove(tenant, [one.id for one in deletion.profiles] if deletion is not None else [])
    deleted, kept = delete_profiles(tenant, deletion) if deletion is not None else ([], [])
    return {
        "tenant": tenant,
        "changed": removed["changed"],
        "ended": removed["ended"],
        "deleted_profiles": deleted,
        "kept_profiles": kept,
        "effective": removed["effective"],
    }


def _deletion(directory: "DirectoryStore", tenant: str, tag_key: str, *, yes: bool) -> "Deletion | None":
    from bedrock_meter.cli.confirming import confirm
    from bedrock_meter.storage.inference_profiles import BedrockControlPlane, Pace, control_plane_client
    from bedrock_meter.tenants.offboarding import Deletion, deletable

    control = BedrockControlPlane(control_plane_client(), Pace())
    found = deletable(control, directory, tenant)
    if not found:
        return None
    names = ", ".join(one.arn for one in found)
    confirm(f"Calls through deleted profiles fail at once. Delete {names}?", yes=yes)
    return Deletion(found, control, tag_key)
