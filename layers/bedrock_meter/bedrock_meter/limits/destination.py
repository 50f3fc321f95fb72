"""What a caller says of the call it is about to make, and the call that will be made.

The decision: a limit is kept for the call that will be made, not for the caller's words. What a tenant's directory
knows of the profile decides model, routing and Region; a caller's word decides only what the directory does not. What
neither knows stays unknown, and counts against every limit that it may touch.
"""

from dataclasses import dataclass, fields
from typing import Protocol

from bedrock_meter.errors import InvalidDefinition
from bedrock_meter.limits.scope import NO_MODEL

MOST_NAME = 512


@dataclass(frozen=True, slots=True)
class Called:
    """A caller's words; empty = it says nothing.

    Attributes:
        model: Base model, system profile, or an ARN; also the id or ARN of an application inference profile.
        profile: Id or ARN of an application inference profile.
        region: Region of the caller's client.

    Raises:
        InvalidDefinition: One of them is too long.
    """

    model: str = ""
    profile: str = ""
    region: str = ""

    def __post_init__(self) -> None:
        for field in fields(self):
            if len(getattr(self, field.name)) > MOST_NAME:
                raise InvalidDefinition(field.name, f"write at most {MOST_NAME} letters")

    @property
    def names_something(self) -> bool:
        """Whether it says what is called."""
        return bool(self.model or self.profile)


NOTHING_CALLED = Called()


Way = tuple[str, str | None, str]
"""A way that a call may take: id of a profile, routing, Region."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A profile that a tenant can call through.

    Attributes:
        id: Last segment of its ARN.
        arn: Its ARN where the directory knows it, else the id.
        model: Base model, without the prefix of a system profile; ``-`` where it is not known.
        routing: ``in-region``, ``geo``, ``global`` or None where it is not known.
        geography: Of geo routing: ``eu``, ``us``, ``apac`` ...; None where it is not known, and for other routings.
        region: Region that it is called in; empty where it is not known.
    """

    id: str
    arn: str
    model: str
    routing: str | None
    geography: str | None
    region: str


@dataclass(frozen=True, slots=True)
class Destination:
    """The call that will be made.

    Attributes:
        model: What is called: a base model, a system profile's id where no profile of the tenant is called, or ``-``.
        routing: ``in-region``, ``geo`` or ``global``; None = as the model's prefix says.
        region: Region of the call; empty = the stack's.
        through: The tenant's profile that it goes through; None = through none of its profiles.
        profile: Id or ARN of the profile that is called, whosever it is; empty = any or none.
        available: Where something was named and ``through`` is None: all profiles of the tenant.
        choices: Profiles of the model among them: no word of ours keeps a caller from calling through one.
    """

    model: str = NO_MODEL
    routing: str | None = None
    region: str = ""
    through: Choice | None = None
    profile: str = ""
    available: tuple[Choice, ...] = ()
    choices: tuple[Way, ...] = ()


class Destinations(Protocol):
    """Knows which profiles tenants have."""

    def of(self, tenant: str, called: Called, now_ms: int) -> Destination:
        """Return the call that will be made for these words.

        Raises:
            ForeignProfile: The profile that is named is another tenant's.
            InvalidDefinition: The words contradict each other.
        """
