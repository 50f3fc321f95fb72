"""The operator's command: ``bedrock-meter``.

Data goes to stdout, everything else to stderr. Exit codes: 0 done; 1 it did not work; 2 wrong arguments or unreadable
files; 3 records that are unaccounted for, or none at all; 4 it was not agreed to, and not done; 130 and 143
interrupted. Whatever needs time to be imported is imported by the command that needs it.
"""

import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Literal, NoReturn

import typer

from bedrock_meter.cli import (
    backfill,
    plan_commands,
    preflight,
    prices,
    profile_commands,
    quarantine,
    reattribute,
    rebuild,
    rerate,
    setup_logging,
    tenant_commands,
    usage,
)
from bedrock_meter.errors import InvalidDefinition, MeterError

app = typer.Typer(
    name="bedrock-meter",
    help="Tenant meter for Amazon Bedrock: usage, quotas and events per tenant, from the provider's invocation log.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
tenant_commands.register(app)
plan_commands.register(app)
profile_commands.register(app)
rebuild.register(app)
backfill.register(app)
quarantine.register(app)
prices.register(app)
reattribute.register(app)
rerate.register(app)
usage.register(app)
preflight.register(app)
setup_logging.register(app)

TERMINATED = 128 + signal.SIGTERM
INTERRUPTED = 128 + signal.SIGINT


class Terminated(BaseException):
    """SIGTERM or SIGHUP arrived: unwind, so that nothing is left running."""


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"bedrock-meter {version('bedrock-meter')}")
        raise typer.Exit


@app.callback()
def options(
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Say which options stand before a command."""


@app.command(
    short_help="Send records through a local stack and show what they count for.",
    help="Send invocation log records through a local stack and show what they count for.\n\n"
    "PATH: files or folders of records (single JSON, JSON lines, JSON arrays, gzip of those) or of Lambda subscription "
    "events. Uses the stack that `bedrock-meter up` serves, else a fresh one. A folder's own tenants.yaml is used "
    "unless --tenants names another. What holds no record at all is no log: nothing is sent (exit code 3).",
    epilog="Example: bedrock-meter replay --output json events/",
)
def replay(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="What to send.", show_default=False)],
    tenants: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Tenants, their profiles and limits (YAML).", show_default=False)
    ] = None,
    time: Annotated[
        Literal["now", "flat", "recorded"],
        typer.Option(help="now: move all, so that the newest is now; flat: every record is now; recorded: leave them."),
    ] = "now",
    output: Annotated[Literal["table", "json"], typer.Option(help="Form of the result on stdout.")] = "table",
) -> None:
    """Send records through a local stack."""
    from bedrock_meter.cli.outcome import outcome_document, sums_document
    from bedrock_meter.cli.progress import Progress
    from bedrock_meter.cli.records import read_logs, tenants_file_in
    from bedrock_meter.cli.session import replay_lines, some_stack
    from bedrock_meter.cli.tenants import load_gateways, load_plans, load_tenants
    from bedrock_meter.cli.timeline import TimeMode
    from bedrock_meter.local.project import find_project

    with Progress() as progress:
        lines = read_logs(paths)
        file = tenants
        if file is None and (file := tenants_file_in(paths)) is not None:
            progress.note(f"using tenants of {file}")
        definitions = load_tenants(file) if file is not None else ()
        gateways = load_gateways(file) if file is not None else None
        plans = load_plans(file) if file is not None else ()
        with some_stack(find_project(), progress) as stack:
            replayed = replay_lines(stack, lines, TimeMode(time), definitions, progress, gateways, plans)
        document = outcome_document(replayed, [definition.id for definition in definitions])
        progress.pause()
        if output == "json":
            print(json.dumps(document, indent=2))
        else:
            from bedrock_meter.cli.tables import print_outcome

            print_outcome(document, sums_document(replayed.added.rollups.unattributed))


@app.command(
    short_help="Show the whole meter on this machine, then stop.",
    help="Show the whole meter on this machine: deploy template.yaml to a local AWS stack, onboard sample tenants, "
    "send sample records, and print usage, limits, received events and an answer of the quota API.",
    epilog="Example: bedrock-meter run",
)
def run() -> None:
    """Show the whole meter and stop."""
    from bedrock_meter.cli.demonstration import demonstrate

    demonstrate(keep_serving=False)


@app.command(
    short_help="Show the whole meter and keep serving it.",
    help="The same as run, and keep the stack and its quota API serving until Ctrl-C.",
    epilog="Example: bedrock-meter up",
)
def up() -> None:
    """Show the whole meter and keep serving."""
    from bedrock_meter.cli.demonstration import demonstrate

    demonstrate(keep_serving=True)


def execute(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; what a person can cause ends in one line on stderr."""
    from bedrock_meter.local.failures import BadInput, CommandFailed, Unaccounted

    try:
        outcome: Any = app(args=list(arguments), prog_name="bedrock-meter", standalone_mode=False)
        sys.stdout.flush()
    except Unaccounted as failure:
        for problem in failure.problems:
            _complain(problem)
        return failure.exit_code
    except CommandFailed as failure:
        return _complain(str(failure), failure.exit_code)
    except InvalidDefinition as failure:
        return _complain(str(failure), BadInput.exit_code)
    except MeterError as failure:
        return _complain(str(failure))
    except typer.TyperException as failure:
        return _complain(failure.format_message(), failure.exit_code)
    except KeyboardInterrupt:
        return _complain("interrupted", INTERRUPTED)
    except Terminated:
        return _complain("terminated", TERMINATED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CommandFailed.exit_code
    except Exception as failure:
        if type(failure).__module__.partition(".")[0] not in ("botocore", "pynamodb"):
            raise
        return _complain(f"AWS: {failure}")
    return outcome if isinstance(outcome, int) else 0


def _complain(text: str, exit_code: int = 1) -> int:
    print(f"bedrock-meter: {' '.join(text.split())}", file=sys.stderr)
    return exit_code


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


def main() -> NoReturn:
    """Entry point of the command."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _terminate)
    # Shells start background commands deaf to it; ours must stay stoppable.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(execute(sys.argv[1:]))
