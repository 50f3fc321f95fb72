"""Asking a person before something changes that is not to change by mistake, or cannot be taken back."""

import sys


def confirm(question: str, *, yes: bool, instead: str = "say --yes") -> None:
    """Ask on stderr, and come back only if the answer is yes. With ``yes`` it is not asked.

    Args:
        question: What to ask; it says what is lost.
        yes: Whether it was agreed to already.
        instead: What to do where there is no terminal.

    Raises:
        NotAgreed: The answer is anything else, or there is no terminal to ask on.
    """
    from bedrock_meter.local.failures import NotAgreed

    if yes:
        return
    if not sys.stdin.isatty():
        raise NotAgreed(f"{question} Nothing was changed: there is no terminal to ask on; {instead}")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise NotAgreed("nothing was changed")
