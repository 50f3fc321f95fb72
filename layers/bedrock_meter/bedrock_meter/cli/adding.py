"""``tenants add``: one tenant from options, or many from a file, each with its profiles in Bedrock."""

import csv
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

import typer

from bedrock_meter.cli.administering import AdminApi, Api, no_author
from bedrock_meter.cli.deployed import LOCAL, Caller, caller, outputs_of_stack, tables_of
from bedrock_meter.cli.options import Yes

if TYPE_CHECKING:
    from bedrock_meter.cli.progress import Progress
    from bedrock_meter.tenants.batch import Line
    from bedrock_meter.tenants.catalog import ProfileCatalog
    from bedrock_meter.tenants.profiles import InferenceProfile
    from bedrock_meter.tenants.provisioning import Added, Wanted

CHANGED, UNCHANGED, FAILED, NOT_TRIED = "changed", "unchanged", "failed", "not_tried"
_WARNINGS = 20
_FORMULA = re.compile(r"[=+\-@\t\r]")


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one tenant.

    Attributes:
        line: Where it stands in the file; None for one from options.
        tenant: Its id.
        result: ``changed``, ``unchanged``, ``failed`` or ``not_tried``.
        added: What changed, or would; None where it failed.
        problem: Why it failed, or was not tried.
    """

    line: int | None
    tenant: str
    result: str
    added: "Added | None" = None
    problem: str = ""


class Adds(Protocol):
    """Adds one tenant: over the tables, or over the admin API."""

    def add(self, wanted: "Wanted", *, dry_run: bool = False) -> "Added":
        """Make what is wanted true; see ``Provisioner.add``."""


def register(tenants: typer.Typer) -> None:
    """Add the command."""
    tenants.command(
        "add",
        short_help="Add a tenant with its profiles in Bedrock, or many from a file.",
        help="Add a tenant: its limits, and an application inference profile with the tenant's tag for each model. "
        "What is there already is found and adopted; a profile that is tagged for another tenant is refused. Can be "
        "repeated: only what is missing is done. Asks before a limit of a known tenant goes or becomes another one; "
        "without a terminal that needs --yes (exit code 4).\n\nWith --file many tenants from a CSV or YAML file, "
        "checked whole before anything is changed.",
        epilog="Example: bedrock-meter tenants add acme --model us.anthropic.claude-sonnet-4-6 --stack bedrock-meter",
    )(add)


def add(
    tenant: Annotated[str | None, typer.Argument(help="Id of the tenant.", show_default=False)] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", metavar="FILE", help="Many tenants: CSV, or YAML by its ending.", show_default=False),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", metavar="ID", help="Model, or system-defined profile; can be repeated."),
    ] = None,
    copy_from: Annotated[
        list[str] | None,
        typer.Option("--copy-from", metavar="ARN", help="ARN to make a profile from; can be repeated."),
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="TEXT", help="What people call it.", show_default=False)] = None,
    timezone: Annotated[
        str | None, typer.Option(metavar="ZONE", help="IANA zone of calendar windows.", show_default=False)
    ] = None,
    plan: Annotated[str | None, typer.Option(metavar="NAME", help="Name of its plan.", show_default=False)] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(metavar="LIMIT", help="meter=total_tokens,window=1h,max=200k; can be repeated. Replaces all."),
    ] = None,
    tag_key: Annotated[str, typer.Option(metavar="KEY", help="Key of the tag that names the tenant.")] = "tenantId",
    tag: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Further tag on profiles that are made.")
    ] = None,
    stack: Annotated[
        str,
        typer.Option(metavar="NAME", help="CloudFormation stack, with your AWS settings; local: the one `up` serves."),
    ] = LOCAL,
    api: Api = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")] = False,
    yes: Yes = False,
    by: Annotated[
        str | None,
        typer.Option("--by", metavar="NAME", help="Who does it.  [default: your ARN, from STS]", show_default=False),
    ] = None,
    output: Annotated[Literal["table", "json", "csv"], typer.Option(help="Form of the result on stdout.")] = "table",
) -> None:
    """Add tenants."""
    from bedrock_meter.cli.progress import Progress
    from bedrock_meter.cli.reattribute import point_to_reattribution
    from bedrock_meter.local.failures import BadInput
    from bedrock_meter.tenants.batch import Line, load_batch, wanted_of
    from bedrock_meter.tenants.catalog import ADOPTED
    from bedrock_meter.tenants.profiles import source_of_model

    one = {"models": model, "copy_from": copy_from, "limits": limit, "name": name, "timezone": timezone, "plan": plan}
    if (tenant is None) == (file is None):
        raise BadInput("name one tenant, or a file of tenants with --file")
    if file is not None and any(value for value in one.values()):
        raise BadInput("with --file everything about a tenant stands in the file")
    tags = _tags(tag_key, tag or [])
    with Progress() as progress:
        if api is not None:
            no_author(by)
        outputs = outputs_of_stack(stack) if api is None else {}
        who = caller(by)

        def source_of(model: str) -> str:
            return source_of_model(model, partition=who.partition, region=who.region, account=who.account)

        if file is not None:
            lines: Sequence[Line] = load_batch(file, source_of)
        else:
            lines = [Line(0, wanted_of({"id": tenant, **{key: one[key] for key in one if one[key]}}, source_of))]
        catalog, provisioner = (
            _parts_over(AdminApi(api), who, tag_key, tags) if api is not None else _parts(outputs, who, tag_key, tags)
        )
        if not dry_run and not yes:
            _ask(provisioner, lines, progress)
        if file is not None:
            _look_ahead(catalog, lines, progress)
        results, verb = [], "checked" if dry_run else "added"
        for number, result in enumerate(provide(provisioner, lines, dry_run=dry_run), 1):
            results.append(result)
            progress.tell(f"{verb} {number:,} of {len(lines):,} tenants: {result.tenant} {result.result}")
            if result.result == FAILED and file is not None:
                progress.note(f"line {result.line}: {result.tenant}: {result.problem}")
        profiles = _described(catalog, results) if file is None and not dry_run else []
        progress.pause()
    _print(results, profiles, output, dry_run=dry_run)
    for warning in [one for result in results for one in warnings(result, stack if api is None else "NAME")][
        :_WARNINGS
    ]:
        print(warning, file=sys.stderr)
    added = [result.added for result in results if result.added is not None]
    # A profile that was created just now has no usage yet.
    if not dry_run and any(profile.how == ADOPTED for one in added for profile in one.profiles):
        point_to_reattribution(stack if api is None else "NAME")
    if any(result.result in (FAILED, NOT_TRIED) for result in results):
        raise typer.Exit(1)


def provide(provisioner: Adds, lines: "Sequence[Line]", *, dry_run: bool) -> Iterator[Result]:
    """Add tenants one by one. One that fails does not stop the others, unless all of them would fail as well."""
    from bedrock_meter.errors import MeterError, ProfileQuotaFull
    from bedrock_meter.storage.dynamodb import AWS_ERRORS

    is_full = False
    for line in lines:
        number = line.number or None
        if is_full and line.wanted.sources:
            yield Result(number, line.wanted.tenant, NOT_TRIED, problem="the service quota of profiles is used up")
            continue
        try:
            added = provisioner.add(line.wanted, dry_run=dry_run)
            yield Result(number, line.wanted.tenant, CHANGED if added.changed else UNCHANGED, added)
        except ProfileQuotaFull as problem:
            is_full = True
            yield Result(number, line.wanted.tenant, FAILED, problem=str(problem))
        except MeterError as problem:
            yield Result(number, line.wanted.tenant, FAILED, problem=str(problem))
        except AWS_ERRORS as problem:
            yield Result(number, line.wanted.tenant, FAILED, problem=f"AWS: {problem}")
        except Exception as problem:
            if type(problem).__module__.partition(".")[0] != "pynamodb":
                raise
            yield Result(number, line.wanted.tenant, FAILED, problem=f"AWS: {problem}")


def _ask(provisioner: Adds, lines: "Sequence[Line]", progress: "Progress") -> None:
    """Ask before limits go. What cannot be looked at beforehand is refused when it is added, not here.

    Raises:
        NotAgreed: It was not agreed to; nothing was changed.
    """
    from bedrock_meter.cli.confirming import confirm

    touched = [line for line in lines if (line.wanted.limits, line.wanted.plan, line.wanted.timezone) != (None,) * 3]
    looked = list(provide(provisioner, touched, dry_run=True))
    lost = [f"{one.tenant}: {words}" for one in looked if one.added is not None for words in one.added.lost]
    if lost:
        progress.pause()
        more = f" and {len(lost) - _WARNINGS:,} more" if len(lost) > _WARNINGS else ""
        confirm(
            f"These limits go, or become others: {'; '.join(lost[:_WARNINGS])}{more}. Go on?",
            yes=False,
            instead="--dry-run shows what would be done, --yes does it",
        )


def warnings(result: Result, stack: str) -> list[str]:
    """Return what a person who adds a tenant may not expect of it, a line each."""
    added = result.added
    if added is None:
        return []
    found, add = [], f"bedrock-meter tenants add {added.tenant}"
    if not added.can_deny:
        found.append(
            f"{added.tenant} is metered only: it has no limit that denies. Give it one: {add} --limit"
            f" meter=total_tokens,window=1h,max=200k --stack {stack}"
        )
    if not added.is_attributed:
        found.append(
            f"{added.tenant} has no profile and no principal: no call will be attributed to it, but for those that a"
            f" gateway names it for. Give it a profile: {add} --model MODEL --stack {stack}"
        )
    return found


def _tags(tag_key: str, tags: Sequence[str]) -> dict[str, str]:
    from bedrock_meter.local.failures import BadInput
    from bedrock_meter.tenants.profiles import is_tag_key

    found: dict[str, str] = {}
    for one in tags:
        key, sign, value = one.partition("=")
        if not sign or not is_tag_key(key) or key == tag_key or len(value) > 256:
            raise BadInput(f"--tag {one}: write KEY=VALUE with a key of its own, for example cost-center=4711")
        found[key] = value
    if not is_tag_key(tag_key):
        raise BadInput(f"--tag-key {tag_key}: up to 128 letters, digits, spaces and . _ : / = + @ -, not after aws:")
    return found


def _parts(
    outputs: Mapping[str, str], who: Caller, tag_key: str, tags: Mapping[str, str]
) -> "tuple[ProfileCatalog, Adds]":
    from uuid import uuid4

    from bedrock_meter.clock import now_ms
    from bedrock_meter.storage.audit import DynamoDBAuditTrail
    from bedrock_meter.storage.directory import DynamoDBDirectoryStore
    from bedrock_meter.storage.dynamodb import client
    from bedrock_meter.storage.inference_profiles import BedrockControlPlane, Pace, control_plane_client
    from bedrock_meter.storage.installation import DynamoDBInstallationStore
    from bedrock_meter.storage.tenants import PynamoDBTenantStore
    from bedrock_meter.tenants.catalog import ProfileCatalog
    from bedrock_meter.tenants.provisioning import Provisioner

    tables, dynamodb = tables_of(outputs), client("dynamodb")
    control = BedrockControlPlane(control_plane_client(), Pace())
    catalog = ProfileCatalog(control, DynamoDBDirectoryStore(dynamodb, tables), tag_key)
    provisioner = Provisioner(
        PynamoDBTenantStore(tables),
        DynamoDBInstallationStore(dynamodb, tables),
        catalog,
        DynamoDBAuditTrail(dynamodb, tables),
        by=who.by,
        clock=now_ms,
        new_id=lambda: uuid4().hex,
        extra_tags=tags,
    )
    return catalog, provisioner


def _parts_over(api: AdminApi, who: Caller, tag_key: str, tags: Mapping[str, str]) -> "tuple[ProfileCatalog, Adds]":
    from bedrock_meter.cli.adding_over import ApiDirectory, ApiProvisioner, check_region
    from bedrock_meter.storage.inference_profiles import BedrockControlPlane, Pace, control_plane_client
    from bedrock_meter.tenants.catalog import ProfileCatalog

    check_region(api, who)
    catalog = ProfileCatalog(BedrockControlPlane(control_plane_client(), Pace()), ApiDirectory(api), tag_key)
    return catalog, ApiProvisioner(api, catalog, tags)


def _look_ahead(catalog: "ProfileCatalog", lines: "Sequence[Line]", progress: "Progress") -> None:
    """Say before the first change if the profiles of a file may not all find room."""
    from bedrock_meter.storage.inference_profiles import Pace, ServiceQuota, service_quotas_client

    progress.tell("listing profiles")
    wanted = sum(len(line.wanted.sources) for line in lines)
    maximum, why = ServiceQuota(service_quotas_client(), Pace()).maximum()
    if maximum is None:
        progress.note(f"the service quota of inference profiles cannot be read ({why}): whether all fit is not known")
    elif catalog.count + wanted > maximum:
        progress.note(
            f"{catalog.count:,} of {maximum:,} inference profiles are used and the file names {wanted:,}: those that"
            " are new may not all fit"
        )


def _described(catalog: "ProfileCatalog", results: Sequence[Result]) -> "list[InferenceProfile]":
    """Ask Bedrock for the profiles of one tenant as they are now: what they reach is part of a caller's policy."""
    arns = [one.arn for result in results if result.added is not None for one in result.added.profiles if one.arn]
    found = (catalog.control.profile(arn.rpartition("/")[2]) for arn in arns)
    return [one for one in found if one is not None]


def result_document(result: Result) -> dict[str, Any]:
    """Return a result as the command's JSON shows it."""
    from bedrock_meter.clock import iso

    added = result.added
    return {
        "line": result.line,
        "tenant": result.tenant,
        "result": result.result,
        "changed": list(added.changed) if added is not None else [],
        "profiles": [asdict(one) for one in added.profiles] if added is not None else [],
        "effective": iso(added.effective_ms) if added is not None else None,
        "problem": result.problem or None,
        "lost_limits": list(added.lost) if added is not None else [],
        "can_deny": added.can_deny if added is not None else None,
        "is_attributed": added.is_attributed if added is not None else None,
    }


def _print(results: Sequence[Result], profiles: "Sequence[InferenceProfile]", output: str, *, dry_run: bool) -> None:
    from bedrock_meter.tenants.profiles import invocation_policy

    documents = [result_document(result) for result in results]
    statements = [statement for profile in profiles for statement in invocation_policy(profile)]
    if output == "json":
        print(json.dumps({"dry_run": dry_run, "tenants": documents, "policy_statements": statements}, indent=2))
        return
    if output == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(("line", "tenant", "result", "changed", "profiles", "problem"))
        for one in documents:
            arns = ";".join(profile["arn"] for profile in one["profiles"])
            cells = (one["line"], one["tenant"], one["result"], ";".join(one["changed"]), arns, one["problem"])
            writer.writerow([safe_cell(cell) for cell in cells])
        return
    would = "would be " if dry_run else ""
    for one in documents:
        where = f"line {one['line']}: " if one["line"] else ""
        said = (
            one["problem"] or f"{would}{', '.join(one['changed'])}" if one["changed"] or one["problem"] else "as it was"
        )
        print(f"{where}{one['tenant']}: {one['result']}: {said}")
        for profile in one["profiles"] if not one["line"] else ():
            print(f"  {profile['model']} ({profile['routing']}): {profile['arn'] or 'to be created'}")
    if statements:
        print("A service of the tenant names this ARN as modelId. Its role needs these statements, and no other way:")
        print(json.dumps(statements, indent=2))
    if len(results) > 1:
        counts = {kind: sum(one.result == kind for one in results) for kind in (CHANGED, UNCHANGED, FAILED, NOT_TRIED)}
        print(f"{len(results):,} tenants: " + ", ".join(f"{count:,} {kind}" for kind, count in counts.items() if count))


def safe_cell(value: object) -> str:
    """Return a cell that no spreadsheet takes for a formula."""
    text = "" if value is None else str(value)
    return f"'{text}" if _FORMULA.match(text) else text
