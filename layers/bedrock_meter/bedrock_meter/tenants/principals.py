"""Who called: the names under which an IAM identity of a record may belong to somebody.

Three facts: an assumed role is logged as ``arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION``, without the role's path,
and the session's name is chosen by whoever assumed the role; role names are unique within an account (IAM), so that the
role is named without its path here; ARNs arrive at hostile length and in any form, so that nothing is matched by a
regular expression that could be made to work for long.

A person writes a principal as one of

==============================================  =======================================================================
``arn:aws:iam::ACCOUNT:role/ROLE``              all sessions of a role; a path before its name is left out
``arn:aws:sts::ACCOUNT:assumed-role/ROLE/NAME``  one session name of a role
``arn:aws:iam::ACCOUNT:user/NAME``              a user, with its path
any of these ending in ``*``                    every principal that begins so: a *pattern*
==============================================  =======================================================================

Of several that fit, the one that says most decides: the exact session, session patterns (the longest first), the role,
role patterns (the longest first).
"""

import re
from collections.abc import Iterable, Iterator

from bedrock_meter.errors import InvalidDefinition

MAXIMUM_PRINCIPAL_LENGTH = 700
"""Paths have up to 512 characters, names 64, and an assumed role has two of them."""

_ARN = re.compile(r"arn:(aws[a-z-]{0,16}):(iam|sts)::([0-9]{12}):([!-~]{1,650})")
_KINDS = {"iam": ("role", "user", "root"), "sts": ("assumed-role", "federated-user")}


def names_of(principal: str) -> tuple[str, ...]:
    """Return the names of a logged identity, the one that says most first; none for what is no IAM identity.

    Args:
        principal: ``identity.arn`` as logged.
    """
    arn = _ARN.fullmatch(principal) if len(principal) <= MAXIMUM_PRINCIPAL_LENGTH else None
    if arn is None:
        return ()
    kind, slash, rest = arn[4].partition("/")
    if kind not in _KINDS[arn[2]] or (kind == "root") == bool(slash):
        return ()
    if kind == "role":
        return (_role(arn[1], arn[3], rest.rpartition("/")[2]),)
    if kind == "assumed-role":
        role, _, session = rest.partition("/")
        return (principal, _role(arn[1], arn[3], role)) if session else (_role(arn[1], arn[3], role),)
    return (principal,)


def without_session(principal: str) -> str:
    """Return a logged identity without the name that its session was given; empty for what is no IAM identity.

    A role's session becomes ``arn:aws:sts::ACCOUNT:assumed-role/ROLE``, which still has the role's name; a federated
    user, whose name is given like a session's, ``...:federated-user``. An IAM user is no session, and stays.
    """
    kind = principal.rpartition(":")[2].partition("/")[0] if (names := names_of(principal)) else ""
    if kind == "federated-user":
        return principal.partition("/")[0]
    return "/".join(principal.split("/")[:2]) if kind == "assumed-role" else principal if names else ""


def is_pattern(name: str) -> bool:
    """Whether a name stands for every principal that begins as it does."""
    return name.endswith("*")


def matching(names: Iterable[str], patterns: Iterable[str]) -> Iterator[str]:
    """Yield what fits the names of a principal, what says most first: each name, then its longest patterns.

    Args:
        names: Of one principal, from ``names_of``.
        patterns: Canonical patterns.
    """
    longest_first = sorted(patterns, key=lambda pattern: (-len(pattern), pattern))
    for name in names:
        yield name
        yield from (pattern for pattern in longest_first if name.startswith(pattern[:-1]))


def checked_principal(value: object, where: str) -> str:
    """Return the canonical form of a principal or pattern that a person wrote.

    Raises:
        InvalidDefinition: It is none, or a pattern that is not bound to one account and one kind of principal.
    """
    if not isinstance(value, str):
        raise InvalidDefinition(where, "must be the ARN of an IAM role, user or session as text")
    stem, star, after = value.partition("*")
    if after:
        raise InvalidDefinition(where, f"{value!r}: one '*' may stand, at the end")
    # A letter for the star, so that `role/*` and `assumed-role/name/*` are read like what they stand for.
    names = names_of(f"{stem}x" if star else stem)
    if not names or (stem.endswith("/") and not star):
        raise InvalidDefinition(
            where,
            f"{value!r} is not the ARN of an IAM principal, such as arn:aws:iam::123456789012:role/name, "
            "arn:aws:sts::123456789012:assumed-role/name/session or either with a '*' at the end",
        )
    name = names[0]
    if not star:
        return name
    if name.endswith(":role/x") and stem.count("/") > 1:
        raise InvalidDefinition(where, f"{value!r}: a role is logged without its path, so that no path can be matched")
    if name.endswith("/x") and ":assumed-role/" in name:
        return names[1]  # every session of the role: that is the role
    return f"{name[:-1]}*"


def _role(partition: str, account: str, role: str) -> str:
    return f"arn:{partition}:iam::{account}:role/{role}"
