"""``tenants apply``, ``plans apply``: show what a file would change, ask, and do exactly that.

The difference is made before the first change, and again right before each tenant of it: what another writer changes in
between is refused, and never overwritten. Where nothing differs, what an earlier run left unfinished is finished.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from bedrock_meter.cli.confirming import confirm
from bedrock_meter.cli.difference_text import difference_lines
from bedrock_meter.cli.ways import Way, held_again, held_of, outdated, same_plan
from bedrock_meter.errors import LeaseLost
from bedrock_meter.local.failures import BadInput, NotAgreed
from bedrock_meter.tenants.difference import Desired, Held, difference_document, is_empty, tenant_difference
from bedrock_meter.tenants.planning import plan_changes
from bedrock_meter.tenants.plans import Plan

if TYPE_CHECKING:
    from bedrock_meter.tenants.planning import Planning


@dataclass(frozen=True, slots=True)
class Agreement:
    """How a difference is agreed to.

    Attributes:
        yes: It was, whatever it is.
        accept: Digest of the one that was; None = none.
        dry_run: It is only shown.
        output: ``table`` or ``json``.
    """

    yes: bool = False
    accept: str | None = None
    dry_run: bool = False
    output: str = "table"

    def __post_init__(self) -> None:
        if sum((self.yes, self.accept is not None, self.dry_run)) > 1:
            raise BadInput("--yes, --accept and --dry-run exclude each other")


def agreed(way: Way, desired: Desired, agreement: Agreement) -> tuple[Held, dict[str, Any]]:
    """Show the difference, and come back only if it was agreed to, with the state that it was made from.

    Raises:
        NotAgreed: It was not, or it is another one than was agreed to.
        Exit: 0, it was to be shown only.
    """
    held = held_of(way, desired)
    document = difference_document(desired, held)
    if agreement.dry_run:
        _show(document, agreement.output)
        raise typer.Exit(0)
    if is_empty(document):
        return held, document
    if agreement.accept is not None:
        if agreement.accept != document["digest"]:
            _show(document, agreement.output)
            raise NotAgreed(f"nothing was changed: the difference is {document['digest']}, not {agreement.accept}")
        return held, document
    if not agreement.yes and not sys.stdin.isatty():
        _show(document, agreement.output)
        raise NotAgreed(
            f"nothing was changed: there is no terminal to ask on; --accept {document['digest']} does exactly this"
            " difference, --yes does it without a look"
        )
    _tell(document, agreement.output)
    if agreement.yes:
        return held, document
    confirm("Do this?", yes=False)
    # A person has thought meanwhile.
    held = held_of(way, desired)
    now = difference_document(desired, held)
    if now["digest"] != document["digest"]:
        _tell(now, agreement.output)
        raise NotAgreed("nothing was changed: the difference is another one by now; run it again")
    return held, now


def put_tenants(way: Way, desired: Desired, held: Held, done: Callable[[str, Sequence[str], str], None]) -> None:
    """Make the tenants of a file what it says; ``done`` hears of each: id, what changed, from when it holds.

    Raises:
        NotAgreed: A tenant, or the owner of one of its profiles, is not as it was when the difference was made. What
            was done before it stays.
    """
    after = {**held.plans, **plan_changes(desired.plans, held.plans)}
    for definition in desired.definitions:
        seen = tenant_difference(definition, held, after)
        standing = way.tenant(definition.id)
        now = held_again(way, definition, standing.definition, held)
        if tenant_difference(definition, now, after) != seen:
            raise outdated(definition.id)
        try:
            changed, effective = way.put(definition, standing.version)
        except LeaseLost as problem:
            raise LeaseLost(f"{problem}; tenants after {definition.id} in the file stay as they are") from problem
        done(definition.id, changed, effective)


def put_plans(work: "Planning", desired: Desired, held: Held) -> tuple[str, ...]:
    """Write the plans of a file down, on the tables; returns the names of those that changed.

    Raises:
        NotAgreed: A plan is not as it was when the difference was made; nothing was changed.
    """

    def check(present: Mapping[str, Plan]) -> None:
        for name in plan_changes(desired.plans, held.plans):
            if not same_plan(name, held.plans, present.get(name)):
                raise outdated_plan(name)

    redefined = {one.id for one in desired.definitions}
    return work.put(desired.plans, redefined=redefined, check=check) if desired.plans else ()


def outdated_plan(name: str) -> NotAgreed:
    """Return the refusal of a plan that is another one now than when the difference was made."""
    return NotAgreed(f"plan {name} was changed by another writer meanwhile: run it again to see the difference")


def document_text(document: Mapping[str, Any], applied: Sequence[Mapping[str, Any]] | None) -> str:
    """Return the JSON document of the command; ``applied`` is null where nothing was done."""
    return json.dumps({**document, "applied": applied}, indent=2)


def _show(document: Mapping[str, Any], output: str) -> None:
    """Put a difference out as the result of the command."""
    if output == "json":
        print(document_text(document, None))
    else:
        _print_lines(document, sys.stdout)


def _tell(document: Mapping[str, Any], output: str) -> None:
    """Show a difference that is about to be done."""
    _print_lines(document, sys.stderr if output == "json" else sys.stdout)


def _print_lines(document: Mapping[str, Any], file: Any) -> None:
    if is_empty(dict(document)):
        print("as it was: nothing would change", file=file)
        return
    for line in difference_lines(document):
        print(line, file=file, flush=True)
