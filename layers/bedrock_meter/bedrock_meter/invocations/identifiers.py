"""What a ``modelId`` names.

Three facts: the record holds what the caller passed, an id or an ARN; logs give the ARN where metrics and tenants
files give the bare id, so everything is joined on the last segment; but only resource types that are profiles may be
joined, since a deployment, a prompt or a provisioned model can end in the same letters as somebody's profile.
"""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bedrock_meter.invocations.record import Invocation

RESERVATION_KEY = "bedrock-meter-reservation"
"""Entry of a call's ``requestMetadata`` that names its reservation; Bedrock writes it into the log."""

MAXIMUM_MODEL_ID_LENGTH = 2048
"""Longest ``modelId`` that a request may carry (service model of bedrock-runtime)."""

MAXIMUM_PROFILE_ID_LENGTH = 128
"""Application profiles have 12 characters, system-defined ones and model ids some dozens."""

_PROFILE_ID = rf"[A-Za-z0-9][A-Za-z0-9.:_-]{{0,{MAXIMUM_PROFILE_ID_LENGTH - 1}}}"
_BARE_ID = re.compile(_PROFILE_ID)
_PROFILE_ARN = re.compile(
    rf"arn:aws[a-z-]*:bedrock:[a-z0-9-]{{0,32}}:[0-9]{{0,12}}:(?:application-)?inference-profile/({_PROFILE_ID})"
)

_APPLICATION_PROFILE_ID = re.compile(r"[A-Za-z0-9]{1,64}")
_BARE_APPLICATION_PROFILE_ID = re.compile(r"[a-z0-9]{12}")
"""The form of every id that was seen and that the service model of evaluation jobs asks for."""


def last_segment(model_id: str) -> str:
    """Return what follows the last slash: the name under which usage is reported. A bare id is returned as it is."""
    return model_id.rstrip("/").rpartition("/")[2] or model_id


def profile_candidate(model_id: str) -> str | None:
    """Return the id of the profile that ``model_id`` may name, or None if it names something else.

    Args:
        model_id: A profile's ARN, or a bare id. A bare id may also be a base model's; whether it is somebody's
        profile is for the
            directory of tenants to say.

    Returns:
        The last segment of an ``application-inference-profile`` or ``inference-profile`` ARN, or the bare id. None
        for every other ARN (foundation model, provisioned model, deployment, prompt, router, endpoint) and for what
        can be no id at all.
    """
    if model_id.startswith("arn:"):
        arn = _PROFILE_ARN.fullmatch(model_id)
        return arn[1] if arn else None
    return model_id if _BARE_ID.fullmatch(model_id) else None


def application_profile(invocation: "Invocation") -> str | None:
    """Return the id of the application inference profile that a record names beyond doubt, or None.

    That is an ARN of that kind in the record's own account and Region, or twelve letters and digits alone.
    """
    model_id = invocation.model_id
    if not model_id.startswith("arn:"):
        return model_id if _BARE_APPLICATION_PROFILE_ID.fullmatch(model_id) else None
    head, _, profile = model_id.partition(":application-inference-profile/")
    parts = head.split(":")
    is_ours = parts[2:] == ["bedrock", invocation.region, invocation.account_id] and parts[1].startswith("aws")
    return profile if is_ours and _APPLICATION_PROFILE_ID.fullmatch(profile) else None
