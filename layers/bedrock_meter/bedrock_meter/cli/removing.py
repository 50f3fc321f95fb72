"""``tenants remove`` and ``tenants erase``: what ends a tenant, and what forgets the persons behind it."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from bedrock_meter.cli.deployed import LOCAL, caller, outputs_of_stack, tables_of

if TYPE_CHECKING:
    from bedrock_meter.storage.suspensions import DynamoDBSuspensionStore
    from bedrock_meter.tenants.offboarding import Actor, Deletion, Erased

_UNSAFE = {ord(sign): "-" for sign in "/:"}

Stack = Annotated[
    str,
    typer.Option(metavar="NAME", help="CloudFormation stack, with your AWS settings; local: the one `up` serves."),
]
Tenant = Annotated[str, typer.Argument(help="Id of the tenant.", show_default=False)]
By = Annotated[
    str | None,
    typer.Option("--by", metavar="NAME", help="Who does it.  [default: your ARN, from STS]", show_default=False),
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Output = Annotated[Literal["table", "json"], typer.Option(help="Form of the result on stdout.")]


def register(tenants: typer.Typer) -> None:
    """Add the commands."""
    tenants.command(
        "remove",
        short_help="End a tenant's mappings; its usage stays.",
        help="End a tenant's mappings, 70 s from now; its usage, limits and history stay. Can be repeated.",
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
    delete_profiles: Annotated[
        bool, typer.Option("--delete-profiles", help="Delete its profiles in Bedrock, too. Asks first.")
    ] = False,
    tag_key: Annotated[str, typer.Option(metavar="KEY", help="Key of the tag that names the tenant.")] = "tenantId",
    yes: Yes = False,
    by: By = None,
    output: Output = "table",
) -> None:
    """Remove a tenant."""
    from bedrock_meter.clock import iso
    from bedrock_meter.storage.tenants import PynamoDBTenantStore
    from bedrock_meter.tenants.offboarding import remove_tenant

    outputs = outputs_of_stack(stack)
    who = caller(by)
    store = PynamoDBTenantStore(tables_of(outputs))
    deletion = _deletion(outputs, tenant, tag_key, yes=yes) if delete_profiles else None
    removed = remove_tenant(store, tenant, actor_of(outputs, who.by), deletion=deletion)
    if output == "json":
        document = {
            "tenant": tenant,
            "changed": removed.changed,
            "ended": list(removed.ended),
            "deleted_profiles": list(removed.deleted),
            "kept_profiles": list(removed.kept),
            "effective": iso(removed.effective_ms),
        }
        print(json.dumps(document, indent=2))
    else:
        print(
            f"{tenant}: {len(removed.ended)} mappings end, {len(removed.deleted)} profiles deleted,"
            f" {len(removed.kept)} kept without the tag {tag_key}={tenant};"
            f" {'holds from ' + str(iso(removed.effective_ms)) if removed.changed else 'as it was'}"
        )


def _deletion(outputs: Mapping[str, str], tenant: str, tag_key: str, *, yes: bool) -> "Deletion | None":
    from bedrock_meter.cli.confirming import confirm
    from bedrock_meter.local.failures import CommandFailed
    from bedrock_meter.storage.dynamodb import client
    from bedrock_meter.storage.inference_profiles import BedrockControlPlane, Pace, control_plane_client
    from bedrock_meter.storage.tenants import DynamoDBDirectoryStore
    from bedrock_meter.tenants.offboarding import Deletion, deletable

    control = BedrockControlPlane(control_plane_client(), Pace())
    found = deletable(control, DynamoDBDirectoryStore(client("dynamodb"), tables_of(outputs)), tenant)
    if not found:
        return None
    names = ", ".join(one.arn for one in found)
    if not confirm(f"Calls through deleted profiles fail at once. Delete {names}?", yes=yes):
        raise CommandFailed("nothing was changed")
    return Deletion(found, control, tag_key)


def erase(
    tenant: Tenant,
    stack: Stack = LOCAL,
    yes: Yes = False,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep the position here.  [default: a file in .local]", show_default=False),
    ] = None,
    by: By = None,
    output: Output = "table",
) -> None:
    """Forget the persons behind a tenant."""
    from bedrock_meter.cli.confirming import confirm
    from bedrock_meter.cli.progress import Progress
    from bedrock_meter.clock import now_ms
    from bedrock_meter.local.failures import CommandFailed
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
    if not confirm(question, yes=yes):
        raise CommandFailed("nothing was changed")
    trail = DynamoDBAuditTrail(dynamodb, tables)
    actor = actor_of(outputs, caller(by).by)
    words = erase_definition(store, DynamoDBSuspensionStore(dynamodb, tables), trail, tenant, actor)
    file = resume or _position_file(stack, tenant)
    with Progress() as progress:
        position = _load(file, tenant)
        if position.position is not None:
            progress.note(f"going on after {position.read:,} entries, as {file} says")

        def done(erased: "Erased") -> None:
            _save(file, tenant, erased)
            progress.tell(f"read {erased.read:,} ledger entries; forgot {erased.principals:,} callers")

        erase_principals(ledger, tenant, position, done)
        file.unlink(missing_ok=True)
    document = {
        "tenant": tenant,
        "ledger_entries_read": position.read,
        "principals_forgotten": position.principals,
        "history_entries_changed": words,
    }
    if output == "json":
        print(json.dumps(document, indent=2))
    else:
        print(
            f"{tenant}: {position.principals:,} callers forgotten in {position.read:,} ledger entries,"
            f" {words:,} entries of its history without people's words; its sums stay"
        )


def _position_file(stack: str, tenant: str) -> Path:
    """Return where the position is kept: in the working folder's ``.local``, which git ignores."""
    from bedrock_meter.local.project import STATE_VARIABLE

    folder = Path(os.environ.get(STATE_VARIABLE, "") or ".local")
    if not folder.is_dir():
        folder.mkdir(parents=True)
        (folder / ".gitignore").write_text("*\n", encoding="utf-8")
    return folder / f"erase_{stack}_{tenant}.json".translate(_UNSAFE)


def _load(file: Path, tenant: str) -> "Erased":
    from bedrock_meter.local.failures import BadInput
    from bedrock_meter.tenants.offboarding import Erased

    if not file.exists():
        return Erased()
    try:
        held: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if held.pop("tenant") != tenant:
            raise BadInput(f"{file} is about another tenant: remove it, or name another file with --resume")
        return Erased(**held)
    except (OSError, ValueError, TypeError, KeyError) as problem:
        raise BadInput(f"{file} holds no position of an erasure") from problem


def _save(file: Path, tenant: str, erased: "Erased") -> None:
    draft = file.with_name(f"{file.name}.draft")
    draft.write_text(json.dumps({"tenant": tenant, **asdict(erased)}, indent=1), encoding="utf-8")
    draft.replace(file)
