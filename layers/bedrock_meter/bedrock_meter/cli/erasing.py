"""``tenants erase``: forgetting the persons behind a removed tenant, or one person by name, in steps."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bedrock_meter.cli.administering import AdminApi, Api, no_author
from bedrock_meter.cli.deployed import LOCAL, caller, outputs_of_stack, tables_of
from bedrock_meter.cli.options import By, Output, Resume, Stack, Yes
from bedrock_meter.cli.positions import position_file, write_position

if TYPE_CHECKING:
    from bedrock_meter.cli.progress import Progress
    from bedrock_meter.tenants.leaving import Step

Tenant = Annotated[str | None, typer.Argument(help="Id of the removed tenant.", show_default=False)]
Principal = Annotated[
    str | None,
    typer.Option("--principal", metavar="ARN", help="Forget this person instead.", show_default=False),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="With --principal: count, and change nothing.")]

_Steps = Callable[[str | None], dict[str, Any]]
"""Does the step at a position; answers as the admin API does, with the position of the ``next`` one."""


@dataclass(slots=True)
class Erased:
    """Progress of an erasure.

    Attributes:
        words: Entries of histories that changed.
        read: Ledger entries read.
        principals: Entries that named a caller and do not any more.
        position: Where to go on; None = at the beginning, or done.
    """

    words: int = 0
    read: int = 0
    principals: int = 0
    position: str | None = None


def register(tenants: typer.Typer) -> None:
    """Add the command."""
    tenants.command(
        "erase",
        short_help="Forget the persons behind a removed tenant, or one person; sums stay.",
        help="Forget the persons behind a removed tenant: its name, people's words, its principals, and the callers "
        "that ledger entries name. With --principal forget one person of any tenant instead: a caller (a role's ARN: "
        "all its sessions), and the name in all histories; refused while it is mapped. Sums stay.\n\nReads the whole "
        "ledger, consistently: about 110,000 read units for each million entries, and one write unit for each entry "
        "that changes. Goes on where it was stopped, and can be repeated. Asks; without a terminal it needs --yes "
        "(exit code 4).",
        epilog="Example: bedrock-meter tenants erase acme --stack bedrock-meter",
    )(erase)


def erase(
    tenant: Tenant = None,
    stack: Stack = LOCAL,
    principal: Principal = None,
    api: Api = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    resume: Resume = None,
    by: By = None,
    output: Output = "table",
) -> None:
    """Forget the persons behind a tenant, or one."""
    from bedrock_meter.local.failures import BadInput

    if (tenant is None) == (principal is None):
        raise BadInput("name a removed tenant, or one person with --principal, and not both")
    if dry_run and principal is None:
        raise BadInput("--dry-run goes with --principal")
    if api is not None:
        no_author(by)
        over = AdminApi(api)
        step = (
            _tenants_over(over, tenant, yes=yes)
            if tenant
            else _persons_over(over, principal or "", dry_run=dry_run, yes=yes)
        )
        place = over.host
    else:
        step = (
            _tenants_steps(stack, tenant, by, yes=yes)
            if tenant
            else _persons_steps(stack, principal or "", by, dry_run=dry_run, yes=yes)
        )
        place = stack
    # A person's name goes into no file, and into no file's name.
    whom = tenant or hashlib.sha256((principal or "").encode()).hexdigest()
    about = {"tenant": whom} if tenant else {"principal_sha256": whom, "dry_run": dry_run}
    of_persons = () if tenant else ("counting" if dry_run else "person",)
    erased = _run(step, about, resume or position_file("erase", place, *of_persons, whom[:128]))
    document = {
        **({"tenant": tenant} if tenant else {"dry_run": dry_run}),
        "ledger_entries_read": erased.read,
        "principals_forgotten": erased.principals,
        "history_entries_changed": erased.words,
    }
    if output == "json":
        print(json.dumps(document, indent=2))
    elif tenant:
        print(
            f"{tenant}: {erased.principals:,} callers forgotten in {erased.read:,} ledger entries,"
            f" {erased.words:,} entries of its history without people's words; its sums stay"
        )
    else:
        print(
            f"{'would forget' if dry_run else 'forgotten'}: the caller of {erased.principals:,} among"
            f" {erased.read:,} ledger entries, the name in {erased.words:,} mappings, definitions and histories"
        )


def _tenants_steps(stack: str, tenant: str, by: str | None, *, yes: bool) -> _Steps:
    from bedrock_meter.cli.confirming import confirm
    from bedrock_meter.clock import now_ms
    from bedrock_meter.storage.audit import DynamoDBAuditTrail
    from bedrock_meter.storage.dynamodb import client
    from bedrock_meter.storage.erasure import DynamoDBPrincipalStore
    from bedrock_meter.storage.installation import DynamoDBInstallationStore
    from bedrock_meter.storage.suspensions import DynamoDBSuspensionStore
    from bedrock_meter.storage.tenants import PynamoDBTenantStore
    from bedrock_meter.tenants.erasing import NotErasable, check_erasable
    from bedrock_meter.tenants.leaving import Leaving

    tables, dynamodb = tables_of(outputs_of_stack(stack)), client("dynamodb")
    store, ledger = PynamoDBTenantStore(tables), DynamoDBPrincipalStore(dynamodb, tables)
    check_erasable(store, tenant, now_ms())
    confirm(
        f"This cannot be taken back, and reads about {ledger.read_units():,} read units of the ledger. Erase {tenant}?",
        yes=yes,
    )
    who = caller(by).by
    leaving = Leaving(
        store,
        DynamoDBSuspensionStore(dynamodb, tables),
        DynamoDBAuditTrail(dynamodb, tables),
        ledger,
        clock=now_ms,
        installation=DynamoDBInstallationStore(dynamodb, tables),
    )

    def step(position: str | None) -> dict[str, Any]:
        done = leaving.erase(tenant, who, position)
        if done is None:
            raise NotErasable(f"there is no tenant {tenant}")
        return _document(done)

    return step


def _persons_steps(stack: str, principal: str, by: str | None, *, dry_run: bool, yes: bool) -> _Steps:
    from bedrock_meter.clock import now_ms
    from bedrock_meter.storage.audit import DynamoDBAuditTrail, DynamoDBHistory
    from bedrock_meter.storage.dynamodb import client
    from bedrock_meter.storage.erasure import DynamoDBPrincipalStore
    from bedrock_meter.storage.suspensions import DynamoDBSuspensionStore
    from bedrock_meter.storage.tenants import PynamoDBTenantStore
    from bedrock_meter.tenants.forgetting import Forgetting, caller_of

    caller_of(principal)
    tables, dynamodb = tables_of(outputs_of_stack(stack)), client("dynamodb")
    _ask_about(principal, dry_run=dry_run, yes=yes)
    who = caller(by).by
    forgetting = Forgetting(
        PynamoDBTenantStore(tables),
        DynamoDBSuspensionStore(dynamodb, tables),
        DynamoDBAuditTrail(dynamodb, tables),
        DynamoDBHistory(dynamodb, tables),
        DynamoDBPrincipalStore(dynamodb, tables),
        clock=now_ms,
    )
    return lambda position: _document(forgetting.erase(principal, who, position, dry_run=dry_run))


def _document(done: "Step") -> dict[str, Any]:
    return {
        "history_entries_changed": done.words,
        "ledger_entries_read": done.read,
        "principals_forgotten": done.principals,
        "next": done.position,
    }


def _tenants_over(api: AdminApi, tenant: str, *, yes: bool) -> _Steps:
    from bedrock_meter.cli.confirming import confirm
    from bedrock_meter.local.failures import BadInput

    if api.overview(tenant)["removed"] is None:
        raise BadInput(f"{tenant} is still there: `bedrock-meter tenants remove {tenant}` first")
    confirm(f"This cannot be taken back, and reads the whole ledger. Erase {tenant}?", yes=yes)
    return lambda position: api.erase(tenant, position)


def _persons_over(api: AdminApi, principal: str, *, dry_run: bool, yes: bool) -> _Steps:
    _ask_about(principal, dry_run=dry_run, yes=yes)
    return lambda position: api.erase_principal(principal, position, dry_run=dry_run)


def _ask_about(principal: str, *, dry_run: bool, yes: bool) -> None:
    from bedrock_meter.cli.confirming import confirm

    if not dry_run:
        confirm(f"This cannot be taken back, and reads the whole ledger. Forget {principal}?", yes=yes)


def _run(step: _Steps, about: dict[str, Any], file: Path) -> Erased:
    """Do all steps, from where the file says; one at least, also where an earlier run came to its end."""
    from bedrock_meter.cli.progress import Progress

    with Progress() as progress:
        erased, is_first = _load(file, about, progress), True
        while is_first or erased.position is not None:
            is_first = False
            done = step(erased.position)
            erased.words += done["history_entries_changed"]
            erased.read += done["ledger_entries_read"]
            erased.principals += done["principals_forgotten"]
            erased.position = done["next"]
            write_position(file, json.dumps({**about, **asdict(erased)}, indent=1).encode())
            progress.tell(f"read {erased.read:,} ledger entries; {erased.principals:,} callers among them")
        file.unlink(missing_ok=True)
    return erased


def _load(file: Path, about: dict[str, Any], progress: "Progress") -> Erased:
    from bedrock_meter.local.failures import BadInput

    if not file.exists():
        return Erased()
    try:
        held: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if {name: held.pop(name, None) for name in about} != about:
            raise BadInput(f"{file} is about another erasure: remove it, or name another file with --resume")
        erased = Erased(**held)
    except (OSError, ValueError, TypeError, AttributeError) as problem:
        raise BadInput(f"{file} holds no position of an erasure") from problem
    if erased.position is not None:
        progress.note(f"going on after {erased.read:,} entries, as {file} says")
    return erased
