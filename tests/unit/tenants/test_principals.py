"""Names of IAM identities: as logged, as written, and at hostile length."""

import pytest

from bedrock_meter.errors import InvalidDefinition
from bedrock_meter.tenants.principals import (
    MAXIMUM_PRINCIPAL_LENGTH,
    checked_principal,
    matching,
    names_of,
    without_session,
)

ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/worker"
SESSION = f"arn:aws:sts::{ACCOUNT}:assumed-role/worker/i-0abc@x"


@pytest.mark.parametrize(
    ("logged", "names"),
    [
        (SESSION, (SESSION, ROLE)),
        (ROLE, (ROLE,)),
        (f"arn:aws:iam::{ACCOUNT}:role/path/to/worker", (ROLE,)),
        (f"arn:aws:iam::{ACCOUNT}:user/team/ann", (f"arn:aws:iam::{ACCOUNT}:user/team/ann",)),
        (f"arn:aws:iam::{ACCOUNT}:root", (f"arn:aws:iam::{ACCOUNT}:root",)),
        (f"arn:aws:sts::{ACCOUNT}:federated-user/ann", (f"arn:aws:sts::{ACCOUNT}:federated-user/ann",)),
        (
            f"arn:aws-us-gov:sts::{ACCOUNT}:assumed-role/worker/s",
            (f"arn:aws-us-gov:sts::{ACCOUNT}:assumed-role/worker/s", f"arn:aws-us-gov:iam::{ACCOUNT}:role/worker"),
        ),
        ("", ()),
        ("somebody", ()),
        (f"arn:aws:iam::{ACCOUNT}:group/worker", ()),
        (f"arn:aws:iam::{ACCOUNT}:rooted", ()),
        (f"arn:aws:s3:::{ACCOUNT}", ()),
        (f"arn:aws:sts::{ACCOUNT}:role/worker", ()),
        (f"arn:aws:iam::{ACCOUNT}:role/" + "w" * MAXIMUM_PRINCIPAL_LENGTH, ()),
        (f"{SESSION}\n", ()),
    ],
)
def test_names_of_a_logged_identity(logged: str, names: tuple[str, ...]) -> None:
    assert names_of(logged) == names


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        (ROLE, ROLE),
        (f"arn:aws:iam::{ACCOUNT}:role/path/worker", ROLE),
        (f"arn:aws:sts::{ACCOUNT}:assumed-role/worker", ROLE),
        (f"arn:aws:sts::{ACCOUNT}:assumed-role/worker/*", ROLE),
        (SESSION, SESSION),
        (f"arn:aws:sts::{ACCOUNT}:assumed-role/worker/acme-*", f"arn:aws:sts::{ACCOUNT}:assumed-role/worker/acme-*"),
        (f"arn:aws:sts::{ACCOUNT}:assumed-role/work*", f"arn:aws:iam::{ACCOUNT}:role/work*"),
        (f"arn:aws:iam::{ACCOUNT}:role/acme-*", f"arn:aws:iam::{ACCOUNT}:role/acme-*"),
        (f"arn:aws:iam::{ACCOUNT}:role/path/acme-*", f"arn:aws:iam::{ACCOUNT}:role/acme-*"),
        (f"arn:aws:iam::{ACCOUNT}:role/*", f"arn:aws:iam::{ACCOUNT}:role/*"),
        (f"arn:aws:iam::{ACCOUNT}:user/acme/*", f"arn:aws:iam::{ACCOUNT}:user/acme/*"),
    ],
)
def test_what_a_person_writes_is_made_canonical(written: str, canonical: str) -> None:
    assert checked_principal(written, "principals[0]") == canonical


@pytest.mark.parametrize(
    "written",
    [
        None,
        7,
        "",
        "*",
        "arn:aws:iam::*:role/worker",
        f"arn:aws:iam::{ACCOUNT}:*",
        f"arn:aws:iam::{ACCOUNT}:ro*",
        f"arn:aws:iam::{ACCOUNT}:role/a*b*",
        f"arn:aws:iam::{ACCOUNT}:role/",
        f"arn:aws:iam::{ACCOUNT}:role/path/*",
        "acme-worker",
        "arn:aws:iam::12345:role/worker",
    ],
)
def test_what_is_no_principal_is_refused_with_its_place(written: object) -> None:
    with pytest.raises(InvalidDefinition) as refusal:
        checked_principal(written, "tenants[0].principals[0]")
    assert refusal.value.where == "tenants[0].principals[0]"


def test_what_says_most_comes_first() -> None:
    session_patterns = [f"arn:aws:sts::{ACCOUNT}:assumed-role/worker/{one}*" for one in ("i", "i-0")]
    role_patterns = [f"arn:aws:iam::{ACCOUNT}:role/{one}*" for one in ("", "work", "other")]
    found = list(matching(names_of(SESSION), [*role_patterns, *session_patterns]))
    assert found == [SESSION, *reversed(session_patterns), ROLE, role_patterns[1], role_patterns[0]]


@pytest.mark.parametrize(
    ("logged", "kept"),
    [
        ("arn:aws:sts::123456789012:assumed-role/dev/jane@corp", "arn:aws:sts::123456789012:assumed-role/dev"),
        ("arn:aws:sts::123456789012:assumed-role/dev/a/b", "arn:aws:sts::123456789012:assumed-role/dev"),
        ("arn:aws:sts::123456789012:assumed-role/dev", "arn:aws:sts::123456789012:assumed-role/dev"),
        ("arn:aws:sts::123456789012:federated-user/jane", "arn:aws:sts::123456789012:federated-user"),
        ("arn:aws:iam::123456789012:user/a/jane", "arn:aws:iam::123456789012:user/a/jane"),
        ("arn:aws:iam::123456789012:role/path/dev", "arn:aws:iam::123456789012:role/path/dev"),
        ("arn:aws:iam::123456789012:root", "arn:aws:iam::123456789012:root"),
        ("jane@corp.example", ""),
        ("arn:aws:sts::1:assumed-role/dev/jane", ""),
        ("", ""),
    ],
)
def test_a_session_name_can_be_left_out(logged: str, kept: str) -> None:
    assert without_session(logged) == kept
    if "assumed-role" in kept:
        assert names_of(kept) == names_of(logged)[-1:], "the role still decides"
    assert without_session(kept) == ("" if kept.endswith(":federated-user") else kept)
