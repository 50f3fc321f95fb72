"""How far a ``rerate`` is: which question it answers, what it has done, and the file that keeps both."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from bedrock_meter.cli import positions
from bedrock_meter.local.failures import BadInput
from bedrock_meter.usage.rerating import Rerated


class Question(Struct, frozen=True):
    """What is rated anew. A position belongs to one question.

    Attributes:
        ledger: Table.
        from_ms: Start of the range of event times.
        to_ms: Its end, exclusive.
        tenants: Which tenants; all where there are none.
        models: Which models; all where there are none.
        prices: Book and overrides.
    """

    ledger: str
    from_ms: int
    to_ms: int
    tenants: list[str]
    models: list[str]
    prices: str


class Position(Struct):
    """How far a run is.

    Attributes:
        question: What it rates anew.
        after: Everything up to this key is right, in the ledger's own order; None = nothing yet.
        report: What was done until then, as ``msgspec`` writes it.
    """

    question: Question
    after: str | None = None
    report: dict[str, Any] = field(default_factory=dict)


def position_file(stack: str, start: str, end: str, tenants: list[str], models: list[str]) -> Path:
    """Return where the position of this run is kept: beside those of backfills."""
    of_all = positions.position_file("rerate", stack, start, end)
    if not tenants and not models:
        return of_all
    chosen = hashlib.sha256(json.dumps([tenants, models]).encode()).hexdigest()[:12]
    return of_all.with_name(f"{of_all.stem}_{chosen}.json")


def load(file: Path, question: Question, note: Callable[[str], None]) -> Position:
    """Return the position that the file holds, or one at the beginning.

    One that was made with other prices is not gone on with: what was rated until then may be wrong by now.

    Raises:
        BadInput: The file is about something else.
    """
    if not file.exists():
        return Position(question)
    try:
        found = msgspec.json.decode(file.read_bytes(), type=Position)
        msgspec.convert(found.report, Rerated)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as problem:
        raise BadInput(f"{file} holds no position of a rerate") from problem
    if replace(found.question, prices=question.prices) != question:
        raise BadInput(f"{file} is about another range or ledger: remove it, or name another file with --resume")
    if found.question.prices != question.prices:
        note(f"prices have changed since the run that {file} is about: beginning again")
        return Position(question)
    note(f"going on where the last run was, as {file} says")
    return found


def save(file: Path, position: Position) -> None:
    """Write the position, whole or not at all."""
    positions.write_position(file, msgspec.json.encode(position))


def report_of(position: Position) -> Rerated:
    """Return what was done until a position."""
    return msgspec.convert(position.report, Rerated)
