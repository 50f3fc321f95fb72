"""What can go wrong around the local stack, and with which exit code the command ends then.

::

    MeterError
    └── CommandFailed       one line for the user, and an exit code
        ├── BadInput        2  an argument or a file cannot be used; nothing was sent
        ├── Unaccounted     3  what was sent did not come out in the counts, or two counts contradict each other
        ├── NoLog           3  what was given to replay holds no record; nothing was sent
        ├── NotAgreed       4  it would change or lose something, and that was not agreed to; it was not done
        └── LocalStackFailed  1  the local stack cannot be started, deployed or used
"""

from collections.abc import Sequence
from typing import ClassVar

from bedrock_meter.errors import MeterError


class CommandFailed(MeterError):
    """The command cannot go on; its message is one line for whoever typed it."""

    exit_code: ClassVar[int] = 1


class BadInput(CommandFailed):
    """An argument or a file cannot be used. Nothing was sent."""

    exit_code = 2


class LocalStackFailed(CommandFailed):
    """The local stack is missing, did not start, or refused the template."""


class NoLog(CommandFailed):
    """What was given is no invocation log: it holds no record at all. Nothing was sent."""

    exit_code = 3


class NotAgreed(CommandFailed):
    """What the command would change or lose was not agreed to, or is something else by now. It was not done."""

    exit_code = 4


class Unaccounted(CommandFailed):
    """Records were lost on the way, or two sources of the same number contradict each other.

    Attributes:
        problems: One line each: which sources, and what they say.
    """

    exit_code = 3

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)
