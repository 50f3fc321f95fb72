"""Options that commands share. One that several commands mean alike is spelled and explained here once."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Stack = Annotated[
    str,
    typer.Option(metavar="NAME", help="CloudFormation stack, with your AWS settings; local: the one `up` serves."),
]
Output = Annotated[Literal["table", "json"], typer.Option(help="Form of the result on stdout.")]
By = Annotated[
    str | None,
    typer.Option("--by", metavar="NAME", help="Who does it.  [default: your ARN, from STS]", show_default=False),
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Accept = Annotated[
    str | None,
    typer.Option(metavar="DIGEST", help="Do exactly the difference of this digest, or nothing.", show_default=False),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the difference and change nothing; exit code 0.")]
Resume = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Keep the position here.  [default: a file in .local]", show_default=False),
]
