"""``tenants ... --api URL``, ``plans ... --api URL``: over the admin API, for whoever may not touch the tables."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import quote, quote_plus, urlencode, urlsplit

import typer

from bedrock_meter.local.failures import BadInput, CommandFailed

Api = Annotated[
    str | None,
    typer.Option(
        "--api", metavar="URL", help="The admin API instead of the tables, with your AWS settings.", show_default=False
    ),
]

_BASE = "/v1/admin/tenants"
_PLANS = "/v1/admin/plans"
_PROFILES = "/v1/admin/profiles"
_PRINCIPALS = "/v1/admin/principals"
_IDS = 100
_PRINCIPALS_AT_ONCE = 20
_IDS_CHARACTERS = 1_500
"""Of profiles in one request: its query has 2,048 characters, and each comma takes three."""
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_REGION = re.compile(r"[a-z0-9]+\.execute-api\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?")
_PAGE = 200
_WRONG = (400, 404, 413)
_OUTDATED = 412
_TIMEOUT_S = 30

Send = Callable[[str, str, bytes | None, Mapping[str, str]], tuple[int, Mapping[str, str], str]]
"""Method, address, body, headers -> status, headers, text."""


class Outdated(CommandFailed):
    """What is to be changed is not, or no longer, what the change was made from. Nothing of it was changed."""


class AdminApi:
    """The admin API at an address (``AdminApiUrl`` of a stack's outputs).

    Attributes:
        host: Of its address.
        region: The Region that its address names; None where it names none.

    Raises:
        BadInput: The address is not one, or is not encrypted. Of each call: the API says that the request is wrong.
        CommandFailed: Of each call: the API refuses, or cannot be reached.
    """

    def __init__(self, url: str, send: Send | None = None) -> None:
        parts = urlsplit(url)
        if not parts.hostname or (
            parts.scheme != "https" and (parts.scheme, parts.hostname in _LOOPBACK) != ("http", True)
        ):
            raise BadInput(f"--api {url}: write the address of the admin API, with https")
        self._base = url.rstrip("/")
        found = _REGION.fullmatch(parts.hostname)
        self.host = parts.netloc
        self.region = found[1] if found else None
        self._send = send or _signed(self.region)

    def tenant(self, tenant: str) -> tuple[dict[str, Any], str]:
        """Return a tenant's document and the version that a change names."""
        _, headers, document = self._ask("GET", _path(tenant))
        return document, _header(headers, "etag")

    def tenants(self) -> Iterator[dict[str, Any]]:
        """Yield all tenants, as lists have them."""
        yield from self._pages(_BASE, "tenants")

    def history(self, tenant: str) -> Iterator[dict[str, Any]]:
        """Yield the changes of a tenant, newest first."""
        yield from self._pages(f"{_path(tenant)}/audit", "changes")

    def known(self, tenant: str) -> tuple[dict[str, Any], str] | None:
        """Return a tenant's document and version; None if there is no such tenant."""
        status, headers, document = self._ask("GET", _path(tenant), accepted=(200, 404))
        return (document, _header(headers, "etag")) if status == 200 else None

    def overview(self, tenant: str) -> dict[str, Any]:
        """Return a tenant with what it uses now, as ``tenants show`` shows it."""
        found: dict[str, Any] = self._ask("GET", f"{_path(tenant)}/overview")[2]
        return found

    def put(self, tenant: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """Make a tenant what ``document`` says; returns what that changed: ``{changed, effective}``.

        Read and changed under the version that was read: what somebody else changed in between is not lost.
        """
        found = self.known(tenant)
        return self.put_over(tenant, document, found[1] if found is not None else None)[1]

    def put_over(self, tenant: str, document: Mapping[str, Any], version: str | None) -> tuple[str, dict[str, Any]]:
        """Make a tenant of this version (None = there must be none) what ``document`` says.

        Returns:
            The version that there is now, and what that changed, see ``put``.
        """
        condition = {"If-None-Match": "*"} if version is None else {"If-Match": version}
        _, headers, after = self._ask("PUT", _path(tenant), document, condition)
        return _header(headers, "etag"), after["applied"]

    def remove(self, tenant: str, delete_profiles: Sequence[str] = ()) -> dict[str, Any]:
        """Remove a tenant; returns ``{tenant, changed, ended, effective}``.

        Args:
            tenant: Whom.
            delete_profiles: Ids of profiles that the caller will delete in Bedrock; noted.
        """
        removed: dict[str, Any] = {}
        for ids in chunks(delete_profiles) or [[]]:
            query = f"?{urlencode({'delete_profiles': ','.join(ids)})}" if ids else ""
            found = self._ask("DELETE", _path(tenant) + query)[2]
            removed = {
                **found,
                "changed": found["changed"] or removed.get("changed", False),
                "ended": [*removed.get("ended", []), *found["ended"]],
                "effective": max(found["effective"], removed.get("effective", "")),
            }
        return removed

    def erase(self, tenant: str, cursor: str | None) -> dict[str, Any]:
        """Do a step of an erasure; ``next`` of the answer is the cursor of the following one, null at the end."""
        step: dict[str, Any] = self._ask("POST", f"{_path(tenant)}/erasure", {"cursor": cursor})[2]
        return step

    def erase_principal(self, principal: str, cursor: str | None, *, dry_run: bool) -> dict[str, Any]:
        """Do a step of forgetting one person; ``next`` as in ``erase``."""
        body = {"principal": principal, "cursor": cursor, "dry_run": dry_run}
        step: dict[str, Any] = self._ask("POST", f"{_PRINCIPALS}/erasure", body)[2]
        return step

    def periods(self, profiles: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """Return who owned profiles when, by profile; those that were never anybody's are missing."""
        found: dict[str, list[dict[str, Any]]] = {}
        for ids in chunks(profiles):
            page = self._ask("GET", f"{_PROFILES}?{urlencode({'ids': ','.join(ids)})}")[2]
            found |= {one["id"]: one["periods"] for one in page["profiles"]}
        return found

    def principal_periods(self, principals: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """Return whom principals and patterns called for when; those that were never anybody's are missing."""
        found: dict[str, list[dict[str, Any]]] = {}
        for arns in chunks(principals, _PRINCIPALS_AT_ONCE):
            page = self._ask("GET", f"{_PRINCIPALS}?{urlencode({'arns': ' '.join(arns)})}")[2]
            found |= {one["principal"]: one["periods"] for one in page["principals"]}
        return found

    def suspend(self, tenant: str, reason: str, public_reason: str | None = None) -> dict[str, Any]:
        """Suspend a tenant; returns reasons, instant and author of the suspension that holds now."""
        said = {"reason": reason, **({} if public_reason is None else {"public_reason": public_reason})}
        suspended: dict[str, Any] = self._ask("PUT", f"{_path(tenant)}/suspension", said)[2]["suspended"]
        return suspended

    def resume(self, tenant: str) -> None:
        """End a suspension, if there is one."""
        self._ask("DELETE", f"{_path(tenant)}/suspension", accepted=(204,))

    def boosts(self, tenant: str) -> Sequence[Mapping[str, Any]]:
        """Return the boosts of a tenant that are not over."""
        boosts: list[dict[str, Any]] = self._ask("GET", f"{_path(tenant)}/boosts")[2]["boosts"]
        return boosts

    def boost(self, tenant: str, wanted: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
        """Give a tenant a boost; returns it, and whether it is new."""
        status, _, made = self._ask("POST", f"{_path(tenant)}/boosts", wanted, accepted=(200, 201))
        return made, status == 201

    def end_boost(self, tenant: str, boost: str) -> None:
        """End a boost, if it is not over."""
        self._ask("DELETE", f"{_path(tenant)}/boosts/{quote(boost, safe='')}", accepted=(204,))

    def plans(self) -> Sequence[Mapping[str, Any]]:
        """Return all plans."""
        plans: list[dict[str, Any]] = self._ask("GET", _PLANS)[2]["plans"]
        return plans

    def plan(self, name: str) -> Mapping[str, Any]:
        """Return a plan."""
        plan: dict[str, Any] = self._ask("GET", _plan_path(name))[2]
        return plan

    def plan_history(self, name: str) -> Iterator[dict[str, Any]]:
        """Yield the changes of a plan, newest first."""
        yield from self._pages(f"{_plan_path(name)}/audit", "changes")

    def put_plan(
        self,
        document: Mapping[str, Any],
        is_expected: Callable[[Mapping[str, Any] | None], bool] = lambda before: True,
    ) -> Iterator[tuple[bool, Mapping[str, Any]]]:
        """Make a plan what ``document`` says and install it; yields after each part (whether it changed, how far).

        Read and changed under the version that was read, as ``put`` does. Ends when all its tenants were reached.

        Args:
            document: The plan.
            is_expected: Whether the plan as it is read (None = there is none) may be changed.

        Raises:
            Outdated: It may not, or was changed since it was read.
        """
        path = _plan_path(str(document["name"]))
        status, headers, before = self._ask("GET", path, accepted=(200, 404))
        if not is_expected(before if status == 200 else None):
            raise Outdated(f"plan {document['name']} was changed by another writer meanwhile")
        condition = {"If-Match": _header(headers, "etag")} if status == 200 else {"If-None-Match": "*"}
        done = self._ask("PUT", path, document, condition, accepted=(200, 202))[2]
        is_changed = status != 200 or before != done["plan"]
        yield is_changed, done["installation"]
        while done["installation"]["next"] is not None:
            following = urlencode({"cursor": done["installation"]["next"]})
            done = self._ask("POST", f"{path}/installation?{following}", accepted=(200, 202))[2]
            yield is_changed, done["installation"]

    def remove_plan(self, name: str) -> None:
        """Take a plan away that no tenant has, in the version that is read; one that is used is bad input."""
        path = _plan_path(name)
        condition = {"If-Match": _header(self._ask("GET", path)[1], "etag")}
        status, _, said = self._ask("DELETE", path, None, condition, accepted=(204, 409))
        if status == 409:
            raise BadInput(f"the admin API answers 409: {said['detail']}")

    def _pages(self, path: str, name: str) -> Iterator[dict[str, Any]]:
        query: dict[str, Any] = {"limit": _PAGE}
        while True:
            page = self._ask("GET", f"{path}?{urlencode(query)}")[2]
            yield from page[name]
            if page["next"] is None:
                return
            query["cursor"] = page["next"]

    def _ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        accepted: tuple[int, ...] = (200,),
    ) -> tuple[int, Mapping[str, str], Any]:
        data = None if body is None else json.dumps(body).encode()
        named = {**({} if data is None else {"Content-Type": "application/json"}), **(headers or {})}
        status, answered, text = self._send(method, self._base + path, data, named)
        # API Gateway says "json" of an answer without a body, too.
        document = json.loads(text) if text and "json" in _header(answered, "content-type") else {}
        if status in accepted:
            return status, answered, document
        said = document.get("detail") or document.get("message") or text[:200]
        # A conflict that waiting cannot solve is the caller's to solve.
        is_wrong = status in _WRONG or (status == 409 and not _header(answered, "retry-after"))
        failure = Outdated if status == _OUTDATED else BadInput if is_wrong else CommandFailed
        raise failure(f"the admin API answers {status}: {said}")


def no_author(by: str | None) -> None:
    """Refuse ``--by`` beside ``--api``: the API notes who signed."""
    if by is not None:
        raise BadInput("--by cannot stand beside --api: the API notes whose signature it is")


def chunks(names: Sequence[str], most: int = _IDS) -> list[list[str]]:
    """Return ids of profiles, or ARNs, in as many lists as they need requests."""
    found: list[list[str]] = []
    room = 0
    for one in names:
        length = len(quote_plus(one)) + 3
        if not found or len(found[-1]) == most or room < length:
            found.append([])
            room = _IDS_CHARACTERS
        found[-1].append(one)
        room -= length
    return found


def _path(tenant: str) -> str:
    return f"{_BASE}/{quote(tenant, safe='')}"


def _plan_path(name: str) -> str:
    return f"{_PLANS}/{quote(name, safe='')}"


def _header(headers: Mapping[str, str], name: str) -> str:
    return next((str(value) for key, value in headers.items() if key.lower() == name), "")


def _signed(region: str | None) -> Send:
    """Return what sends requests that the AWS settings sign."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.exceptions import BotoCoreError
    from botocore.httpsession import URLLib3Session
    from botocore.session import get_session

    from bedrock_meter.errors import ConfigurationError
    from bedrock_meter.storage.connection import SOCKET_OPTIONS

    session = get_session()
    credentials, place = session.get_credentials(), region or session.get_config_variable("region")
    if credentials is None or place is None:
        raise ConfigurationError("there are no AWS credentials, or no Region: the admin API is asked with a signature")
    http = URLLib3Session(timeout=_TIMEOUT_S, socket_options=SOCKET_OPTIONS)

    def send(
        method: str, url: str, data: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, Mapping[str, str], str]:
        request = AWSRequest(method, url, data=data, headers=dict(headers))
        SigV4Auth(credentials.get_frozen_credentials(), "execute-api", place).add_auth(request)
        try:
            answer = http.send(request.prepare())
        except BotoCoreError as problem:
            raise CommandFailed(f"the admin API cannot be reached: {problem}") from problem
        return answer.status_code, dict(answer.headers), answer.text

    return send
