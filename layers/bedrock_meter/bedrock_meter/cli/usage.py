"""``usage remove``: what one ledger entry counts for, taken back out of its tenant."""

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bedrock_meter.cli.deployed import LOCAL, outputs_of_stack, tables_of
from bedrock_meter.cli.options import By, Output, Stack, Yes
from bedrock_meter.money import usd_text

if TYPE_CHECKING:
    from bedrock_meter.settings import Tables
    from bedrock_meter.usage.ledger import LedgerEntry
    from bedrock_meter.usage.rewriting import Rewritten

NOT_DONE = 1
"""Exit code: other writers kept us from the entry; run it again."""

MAXIMUM_REASON = 256

_is_key = re.compile(r"[0-9]{12}#[a-z0-9-]{1,32}#[A-Za-z0-9._:-]{1,128}").fullmatch
_is_request_id = re.compile(r"[A-Za-z0-9._:-]{1,128}").fullmatch


def register(app: typer.Typer) -> None:
    """Add the commands."""
    usage = typer.Typer(help="Usage that was recorded, entry by entry.", rich_markup_mode=None)

    @usage.callback()
    def group() -> None:
        """Keep the word of the command, which is the only one of its group."""

    usage.command(
        "remove",
        short_help="Take the usage of one call back out of its tenant.",
        help="Take the usage of one ledger entry back: of a record that somebody forged, or of a call that should not "
        "count. Ledger, roll-up and limits change in one transaction; no other record of the call counts again. The "
        "tenant's history says who did it and why. There is no way back, so it shows what it takes, and asks; without "
        "a terminal it needs --yes (exit code 4). Can be repeated.\n\nENTRY: account#region#requestId, or the request "
        "id alone.",
        epilog="Example: bedrock-meter usage remove 123456789012#us-east-1#REQUEST --reason forged --stack "
        "bedrock-meter",
    )(remove)
    app.add_typer(usage, name="usage")


def remove(
    entry: Annotated[str, typer.Argument(metavar="ENTRY", help="Which call.", show_default=False)],
    stack: Stack = LOCAL,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; kept in the tenant's history.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing; show what would be taken back.")] = False,
    yes: Yes = False,
    by: By = None,
    output: Output = "table",
) -> None:
    """Take the usage of one call back."""
    import random

    from bedrock_meter.cli.confirming import confirm
    from bedrock_meter.cli.deployed import caller
    from bedrock_meter.cli.repairing import repairing
    from bedrock_meter.clock import now_ms, sleep_ms
    from bedrock_meter.local.failures import BadInput
    from bedrock_meter.storage.audit import DynamoDBAuditTrail
    from bedrock_meter.storage.dynamodb import client
    from bedrock_meter.storage.recording import DynamoDBRecordingStore
    from bedrock_meter.usage.removal import Removal
    from bedrock_meter.usage.rewriting import Outcome

    if not (_is_key(entry) or _is_request_id(entry)):
        raise BadInput("ENTRY: write account#region#requestId, or the request id alone")
    if len(reason) > MAXIMUM_REASON or not reason.isprintable():
        raise BadInput(f"--reason: write one line of at most {MAXIMUM_REASON} characters")
    outputs = outputs_of_stack(stack)
    tables, dynamodb = tables_of(outputs), client("dynamodb")
    held = _find(entry, outputs, dynamodb, tables)
    if held.removed_ms is None and not dry_run:
        confirm(f"{_words(held)} This cannot be undone; `--dry-run` only shows it. Go on?", yes=yes)
    is_idle = dry_run or held.removed_ms is not None
    with repairing("usage remove", dynamodb, tables, dry_run=is_idle) as check:
        removal = Removal(
            DynamoDBRecordingStore(dynamodb, tables),
            DynamoDBAuditTrail(dynamodb, tables),
            "" if is_idle else caller(by).by,
            clock=now_ms,
            sleep_ms=sleep_ms,
            uniform=random.random,
            check=check,
        )
        done = removal.remove(held, reason, dry_run=dry_run)
    document = result_of(done, dry_run=dry_run)
    print(json.dumps(document, indent=2) if output == "json" else _said(document, done))
    if done.outcome in (Outcome.REFUSED, Outcome.EXPIRED):
        raise typer.Exit(NOT_DONE)


def result_of(done: "Rewritten", *, dry_run: bool) -> dict[str, Any]:
    """Return the result as the command's JSON document."""
    from bedrock_meter.clock import iso
    from bedrock_meter.usage.removal import document_of
    from bedrock_meter.usage.rewriting import Outcome

    names = {Outcome.WRITTEN: "would be removed" if dry_run else "removed", Outcome.LEFT: "removed before"}
    held = done.held
    counted = document_of(held)
    is_written = done.outcome is Outcome.WRITTEN and not dry_run
    removed_ms = done.wanted.removed_ms if is_written and done.wanted else held.removed_ms
    return {
        "outcome": names.get(done.outcome, str(done.outcome)),
        "tenant": held.tenant,
        **{name: value for name, value in counted.items() if name != "cost_nano_usd"},
        "cost_usd": usd_text(counted["cost_nano_usd"]),
        "removed": None if removed_ms is None else iso(removed_ms),
    }


def _find(entry: str, outputs: Mapping[str, str], dynamodb: Any, tables: "Tables") -> "LedgerEntry":
    """Return the entry of a key, or of a request id in one of the accounts and Regions that the stack meters.

    Raises:
        BadInput: There is none, or a request id is that of several calls.
    """
    from bedrock_meter.local.failures import BadInput
    from bedrock_meter.storage.entries import entries_of

    if _is_key(entry):
        keys, where = [entry], "the ledger holds no such entry"
    else:
        keys = _keys_of(entry, outputs)
        where = "no call of the accounts and Regions that this stack meters has this request id: write the whole key"
    found = sorted(entries_of(dynamodb, tables, keys), key=lambda one: one.key)
    if not found:
        raise BadInput(f"{entry}: {where}")
    if len(found) > 1:
        raise BadInput(f"{entry} is the request id of several calls; name one: {', '.join(one.key for one in found)}")
    return found[0]


def _keys_of(request_id: str, outputs: Mapping[str, str]) -> list[str]:
    from bedrock_meter.cli.deployed import recorder_of
    from bedrock_meter.invocations.doubt import ANY

    recorder = recorder_of(outputs)
    accounts = sorted({recorder.account, *recorder.origins.accounts} - {ANY})
    regions = sorted({recorder.region, *recorder.origins.regions} - {ANY})
    return [f"{account}#{region}#{request_id}" for account in accounts for region in regions]


def _words(entry: "LedgerEntry") -> str:
    sums, tokens = entry.sums, entry.sums.tokens
    what = "a failed call" if sums.errors else f"{tokens.total:,} tokens, {usd_text(sums.cost_nano_usd)} USD"
    return f"{entry.key} counts for {entry.tenant}: {what}."


def _said(document: Mapping[str, Any], done: "Rewritten") -> str:
    key, tenant = document["entry"], document["tenant"]
    match document["outcome"]:
        case "removed before":
            return f"{key} was taken back already, at {document['removed']}: it counts nothing."
        case "removed":
            return f"{_words(done.held)} That is taken back."
        case "would be removed":
            return f"{_words(done.held)} That would be taken back."
        case "expired":
            return f"{key} of {tenant} is past its retention, or gone: its usage stays as it is."
    return f"{key} of {tenant} keeps its usage: other writers were faster. Run it again."
