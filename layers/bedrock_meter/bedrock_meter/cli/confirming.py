"""Asking a person before something cannot be taken back."""

import sys


def confirm(question: str, *, yes: bool) -> bool:
    """Ask on stderr, and return whether the answer is yes. With ``yes`` it is not asked.

    Raises:
        BadInput: There is nobody to ask.
    """
    from bedrock_meter.local.failures import BadInput

    if yes:
        return True
    if not sys.stdin.isatty():
        raise BadInput(f"{question} Nobody can be asked here: say --yes")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
