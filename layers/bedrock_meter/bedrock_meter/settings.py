"""Configuration, read once and typed. A missing setting stops the function: a default table name is a wrong table."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from bedrock_meter.errors import ConfigurationError

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Tables:
    """Names of the four tables."""

    ledger: str
    usage: str
    quotas: str
    tenants: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "Tables":
        """Read ``LEDGER_TABLE``, ``USAGE_TABLE``, ``QUOTAS_TABLE`` and ``TENANTS_TABLE``.

        A function is only given the tables that it may touch; the others are empty, and DynamoDB refuses an empty name.

        Raises:
            ConfigurationError: None of them is set.
        """
        source = os.environ if environment is None else environment
        names = [source.get(f"{name}_TABLE", "") for name in ("LEDGER", "USAGE", "QUOTAS", "TENANTS")]
        if not any(names):
            raise ConfigurationError(
                "no table is configured: set QUOTAS_TABLE (and the others that this function uses)"
            )
        return cls(*names)


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
