"""Configuration, read once and typed. A missing setting stops the function: a default table name is a wrong table."""

import os
from dataclasses import dataclass

from bedrock_meter.errors import ConfigurationError

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Tables:
    """Names of the four tables; empty where a function has nothing to do with one."""

    ledger: str
    usage: str
    quotas: str
    tenants: str

    @classmethod
    def from_environment(cls, first: str, *others: str) -> "Tables":
        """Read ``LEDGER_TABLE`` and so on, of those tables that a function names; it is given no others.

        Raises:
            ConfigurationError: One of them is not set.
        """
        names = {name: required(f"{name.upper()}_TABLE") if name in (first, *others) else "" for name in cls.__slots__}
        return cls(**names)


def required(name: str) -> str:
    """Return the environment variable ``name``.

    Raises:
        ConfigurationError: It is missing or empty.
    """
    value = os.environ.get(name, "")
    if not value:
        raise ConfigurationError(f"the environment variable {name} is not set")
    return value


def required_days_ms(name: str) -> int:
    """Return the environment variable ``name``, a whole number of days from 1, in milliseconds.

    Raises:
        ConfigurationError: It is missing or no such number.
    """
    text = required(name)
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise ConfigurationError(f"the environment variable {name} must be a whole number of days, it is {text!r}")
    return int(text) * DAY_MS


def optional(name: str) -> str:
    """Return the environment variable ``name``, empty where it is not set: for what can be switched off."""
    return os.environ.get(name, "")
