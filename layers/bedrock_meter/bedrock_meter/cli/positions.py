"""Where a command that goes through a range goes on when it was stopped: the range, and the file of its position."""

import os
from pathlib import Path

_UNSAFE = str.maketrans(dict.fromkeys("/:\\ ", "-"))


def read_range(start: str, end: str, now_ms: int) -> tuple[int, int]:
    """Read [start, end).

    Raises:
        BadInput: One of them is no instant, or they are no range of the past.
    """
    from bedrock_meter.invocations.timestamps import parse_timestamp
    from bedrock_meter.local.failures import BadInput

    instants = []
    for option, spelled in (("--from", start), ("--to", end)):
        instant_ms = parse_timestamp(spelled)
        if instant_ms is None:
            raise BadInput(f"{option} {spelled}: write an instant, for example 2026-11-24T01:00Z")
        instants.append(instant_ms)
    from_ms, to_ms = instants
    if not from_ms < to_ms <= now_ms:
        raise BadInput(f"--from {start} --to {end}: the first must be before the second, and that not in the future")
    return from_ms, to_ms


def position_file(command: str, *about: str) -> Path:
    """Return where a command keeps its position: in the working folder's ``.local``, which git ignores.

    Args:
        command: Its name.
        about: What tells this run from others of the command: stack, start and end of the range.
    """
    from bedrock_meter.local.project import STATE_VARIABLE

    folder = Path(os.environ.get(STATE_VARIABLE, "") or ".local")
    if not folder.is_dir():
        folder.mkdir(parents=True)
        (folder / ".gitignore").write_text("*\n", encoding="utf-8")
    return folder / f"{'_'.join((command, *about))}.json".translate(_UNSAFE)


def write_position(file: Path, content: bytes) -> None:
    """Write a position, whole or not at all."""
    draft = file.with_name(f"{file.name}.draft")
    draft.write_bytes(content)
    draft.replace(file)
