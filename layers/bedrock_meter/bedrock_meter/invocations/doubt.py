"""Records that are readable, and that Bedrock of this account may not have written.

The decision: whoever may write to the log can write any record, so nothing in a record vouches for the record. What
brought it does: the envelope of CloudWatch Logs names the account that owns the log group and the stream that was
written to, and an object lies under the account and Region that Bedrock writes for. A record that says otherwise, or
more tokens than any call can have, is not counted: it goes to quarantine, under a reason for each doubt.

That is no proof. Whoever writes into Bedrock's own stream, with this account and Region, is believed: only policies
keep writers out (docs/operations.md says which).
"""

from collections.abc import Callable
from dataclasses import dataclass

from bedrock_meter.errors import ConfigurationError
from bedrock_meter.invocations.objects import place_of
from bedrock_meter.invocations.parser import MAXIMUM_COUNT
from bedrock_meter.invocations.quarantine import Reason
from bedrock_meter.invocations.record import Invocation

ANY = "*"
"""Stands in a list for whatever there is."""

SETTINGS = ("LOG_ACCOUNTS", "LOG_REGIONS", "LOG_STREAMS", "MAXIMUM_CALL_TOKENS")
"""What a function that records is told of the log."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where records come from, as what brought them says.

    Attributes:
        accounts: Whose records these can be.
        regions: Regions that these can be of.
        most_tokens: Largest count of one kind.
        doubt: Why none of them is believed, None where that is for each record to say.
    """

    accounts: frozenset[str]
    regions: frozenset[str]
    most_tokens: int
    doubt: Reason | None = None

    def doubt_of(self, record: Invocation) -> Reason | None:
        """Return why a record is not believed, or None. The first doubt counts: stream, account, Region, counts."""
        if self.doubt is not None:
            return self.doubt
        if not _holds(self.accounts, record.account_id):
            return Reason.FOREIGN_ACCOUNT
        if not _holds(self.regions, record.region):
            return Reason.FOREIGN_REGION
        tokens = record.tokens
        if max(tokens.input, tokens.output, tokens.cache_read, tokens.cache_write) > self.most_tokens:
            return Reason.IMPLAUSIBLE_COUNT
        return None


@dataclass(frozen=True, slots=True)
class Origins:
    """Which records a stack believes.

    Attributes:
        accounts: Its own account, and others that its log holds calls of.
        regions: The same of Regions.
        streams: Log streams that Bedrock writes to.
        most_tokens: Largest count of one kind that a call can have, itself included.
    """

    accounts: frozenset[str]
    regions: frozenset[str]
    streams: frozenset[str]
    most_tokens: int

    @classmethod
    def configured(cls, setting: Callable[[str], str]) -> "Origins":
        """Read them from a function's settings.

        Args:
            setting: Returns one by its name; lists have commas between, and an empty place says nothing.

        Raises:
            ConfigurationError: One of them is missing or none.
        """
        accounts, regions, streams, bound = SETTINGS
        most = setting(bound)
        if not (most.isascii() and most.isdigit() and int(most) > 0):
            raise ConfigurationError(f"{bound} must be a whole number from 1, it is {most!r}")
        return cls(_listed(setting, accounts), _listed(setting, regions), _listed(setting, streams), int(most))

    def of_delivery(self, owner: str, log_stream: str) -> Origin:
        """Return where the records of one delivery come from.

        Args:
            owner: Account that owns the log group, as the envelope says.
            log_stream: Stream that they were written to.
        """
        doubt = None if _holds(self.streams, log_stream) else Reason.FOREIGN_STREAM
        if doubt is None and not _holds(self.accounts, owner):
            doubt = Reason.FOREIGN_ACCOUNT
        return Origin(self.accounts, self.regions, self.most_tokens, doubt)

    def of_object(self, key: str) -> Origin:
        """Return where the records of one object come from: the account and Region that its place is for."""
        account, region = place_of(key)
        return Origin(self._only(self.accounts, account), self._only(self.regions, region), self.most_tokens)

    @staticmethod
    def _only(believed: frozenset[str], name: str) -> frozenset[str]:
        return frozenset({name}) if name and _holds(believed, name) else frozenset()


def _listed(setting: Callable[[str], str], name: str) -> frozenset[str]:
    found = frozenset(one for one in (part.strip() for part in setting(name).split(",")) if one)
    if not found:
        raise ConfigurationError(f"{name} names nothing")
    return found


def _holds(names: frozenset[str], name: str) -> bool:
    return name in names or ANY in names


EVERYTHING = Origins(frozenset({ANY}), frozenset({ANY}), frozenset({ANY}), MAXIMUM_COUNT)
"""Believes whatever is readable: for who has no stack to ask."""
