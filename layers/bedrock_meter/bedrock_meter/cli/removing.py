"""``tenants remove`` and ``tenants erase``: what ends a tenant, and what forgets the persons behind it."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bedrock_meter.cli.administering import AdminApi, Api, no_author
from bedrock_meter.cli.deployed import LOCAL, caller, outputs_of_stack, tables_of
from bedrock_meter.cli.office import office_of
from bedrock_meter.cli.options import By, Output, Resume, Stack, Yes
from bedrock_meter.cli.positions import position_file, write_position

if TYPE_CHECKING:
    from bedrock_meter.cli.progress import Progress
    from bedrock_meter.storage.suspensions import DynamoDBSuspensionStore
    from bedrock_meter.tenants.directory import DirectoryStore
    from bedrock_meter.tenants.offboarding import Actor, Deletion, Erased

Tenant = Annotated[str, typer.Argument(help="Id of the tenant.", show_default=False)]


def register(tenants: typer.Typer) -> None:
    """Add the commands."""
    tenants.command(
        "remove",
        short_help="End a tenant's mappings; its usage stays.",
        help="End a tenant's mappings, 70 s from now; its usage, limits and history stay. Says what is lost, and asks; "
        "without a terminal it needs --yes (exit code 4). Can be repeated.",
        epilog="Example: bedrock-meter tenants remove acme --delete-profiles --stack bedrock-meter",
    )(remove)
    tenants.command(
        "erase",
        short_help="Forget the persons behind a removed tenant; its sums stay.",
        help="Forget the persons behind a removed tenant: its name, words of people in its history, and the callers "
        "that ledger entries name. Sums stay under its id.\n\nReads the whole ledger, consistently: about 110,000 read "
        "units for each million entries, and one write unit for each entry of the tenant. Goes on where it was "
        "stopped, and can be repeated.",
        epilog="Example: bedrock-meter tenants erase acme --stack bedrock-meter",
    )(erase)


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


def erase(
    tenant: Tenant,
    stack: Stack = LOCAL,
    api: Api = None,
    yes: Yes = False,
    resume: Resume = None,
    by: By = None,
    output: Output = "table",
) -> None:
    """Forget the persons behind a tenant."""
    if api is not None:
        document = _erased_over(AdminApi(api), tenant, resume, by, yes=yes)
    else:
        document = _erased(stack, tenant, resume, by, yes=yes)
    if output == "json":
        print(json.dumps(document, indent=2))
    else:
        print(
            f"{tenant}: {document['principals_forgotten']:,} callers forgotten in"
            f" {document['ledger_entries_read']:,} ledger entries,"
            f" {document['history_entries_changed']:,} entries of its history without people's words; its sums stay"
        )


def _erased(stack: str, tenant: str, resume: Path | None, by: str | None, *, yes: bool) -> dict[str, Any]:
    from bedrock_meter.cli.confirming import confirm
    from bedrock_meter.cli.progress import Progress
    from bedrock_meter.clock import now_ms
    from bedrock_meter.storage.audit import DynamoDBAuditTrail
    from bedrock_meter.storage.dynamodb import client
    from bedrock_meter.storage.erasure import DynamoDBPrincipalStore
    from bedrock_meter.storage.suspensions import DynamoDBSuspensionStore
    from bedrock_meter.storage.tenants import PynamoDBTenantStore
    from bedrock_meter.tenants.offboarding import check_erasable, erase_definition, erase_principals

    outputs = outputs_of_stack(stack)
    tables, dynamodb = tables_of(outputs), client("dynamodb")
    store, ledger = PynamoDBTenantStore(tables), DynamoDBPrincipalStore(dynamodb, tables)
    check_erasable(store, tenant, now_ms())
    question = (
        f"This cannot be taken back, and reads about {ledger.read_units():,} read units of the ledger. Erase {tenant}?"
    )
    confirm(question, yes=yes)
    trail = DynamoDBAuditTrail(dynamodb, tables)
    actor = actor_of(outputs, caller(by).by)
    words = erase_definition(store, DynamoDBSuspensionStore(dynamodb, tables), trail, tenant, actor)
    file = resume or position_file("erase", stack, tenant)
    with Progress() as progress:
        position = _load(file, tenant, progress)

        def done(erased: "Erased") -> None:
            _done(file, tenant, erased, progress)

        erase_principals(ledger, tenant, position, done)
        file.unlink(missing_ok=True)
    return _erasure_document(tenant, position, words)


def _erased_over(api: AdminApi, tenant: str, resume: Path | None, by: str | None, *, yes: bool) -> dict[str, Any]:
    """Erase in steps, each a request. The first one checks and notes, also where an earlier run has begun."""
    from bedrock_meter.cli.confirming import confirm
    from bedrock_meter.cli.progress import Progress
    from bedrock_meter.local.failures import BadInput

    no_author(by)
    if api.overview(tenant)["removed"] is None:
        raise BadInput(f"{tenant} is still there: `bedrock-meter tenants remove {tenant}` first")
    confirm(f"This cannot be taken back, and reads the whole ledger. Erase {tenant}?", yes=yes)
    file = resume or position_file("erase", api.host, tenant)
    with Progress() as progress:
        erased, words = _load(file, tenant, progress), 0
        is_first = erased.position is None
        while is_first or erased.position is not None:
            is_first = False
            step = api.erase(tenant, erased.position)
            words += step["history_entries_changed"]
            erased.read += step["ledger_entries_read"]
            erased.principals += step["principals_forgotten"]
            erased.position = step["next"]
            _done(file, tenant, erased, progress)
        file.unlink(missing_ok=True)
    return _erasure_document(tenant, erased, words)


def _erasure_document(tenant: str, erased: "Erased", words: int) -> dict[str, Any]:
    return {
        "tenant": tenant,
        "ledger_entries_read": erased.read,
        "principals_forgotten": erased.principals,
        "history_entries_changed": words,
    }


def _done(file: Path, tenant: str, erased: "Erased", progress: "Progress") -> None:
    write_position(file, json.dumps({"tenant": tenant, **asdict(erased)}, indent=1).encode())
    progress.tell(f"read {erased.read:,} ledger entries; forgot {erased.principals:,} callers")


def _load(file: Path, tenant: str, progress: "Progress") -> "Erased":
    from bedrock_meter.local.failures import BadInput
    from bedrock_meter.tenants.offboarding import Erased

    if not file.exists():
        return Erased()
    try:
        held: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if held.pop("tenant") != tenant:
            raise BadInput(f"{file} is about another tenant: remove it, or name another file with --resume")
        erased = Erased(**held)
    except (OSError, ValueError, TypeError, KeyError) as problem:
        raise BadInput(f"{file} holds no position of an erasure") from problem
    if erased.position is not None:
        progress.note(f"going on after {erased.read:,} entries, as {file} says")
    return erased
