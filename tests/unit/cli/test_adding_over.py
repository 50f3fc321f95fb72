"""``tenants add`` and ``remove`` over the admin API itself, in process: as over the tables, in a safe order."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from bedrock_meter.cli.adding_over import ApiDirectory, ApiProvisioner, check_region
from bedrock_meter.cli.administering import AdminApi, chunks
from bedrock_meter.cli.deployed import Caller
from bedrock_meter.limits.limit import Limit
from bedrock_meter.local.failures import BadInput, CommandFailed
from bedrock_meter.tenants.attribution import BY_PERSON, BY_TAG, MappingPeriod
from bedrock_meter.tenants.catalog import ADOPTED, CREATED, HAD, ProfileCatalog
from bedrock_meter.tenants.directory import Question
from bedrock_meter.tenants.mapping import map_profile
from bedrock_meter.tenants.offboarding import deletable
from bedrock_meter.tenants.ownership import HANDOVER_MS
from bedrock_meter.tenants.profiles import profile_name
from bedrock_meter.tenants.provisioning import Added, Provisioner, Wanted
from bedrock_meter.tenants.tenant import ProfileReference
from tests.doubles.memory import MemoryInstallationStore, MemoryTables
from tests.doubles.office import NEW, TENANTS, Office
from tests.doubles.records import NOW_MS, limit
from tests.doubles.tenants import HAIKU, HAIKU_ID, SONNET, SONNET_ID, Killed, MemoryAudit, MemoryControlPlane
from tests.doubles.tenants import MemoryTenantStore as Tables

URL = "https://abc123.execute-api.us-east-1.amazonaws.com"


class Scene:
    """The admin API in process, and Bedrock; each ``add`` is a command of its own, which knows nothing from before."""

    def __init__(self) -> None:
        self.office = Office()
        self.control = MemoryControlPlane()
        self.sent: list[str] = []
        self.before: Callable[[str], None] = lambda request: None

    def api(self) -> AdminApi:
        return AdminApi(URL, self._send)

    def _send(
        self, method: str, url: str, data: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, Mapping[str, str], str]:
        path, _, query = url.removeprefix(URL).partition("?")
        self.sent.append(f"{method} {path.removeprefix('/v1/admin/')}")
        self.before(self.sent[-1])
        body = None if data is None else data.decode()
        answer = self.office.ask(path, method, query=query, body=body, headers=headers)
        return answer.status, answer.headers, answer.text

    def add(self, tenant: str, *sources: str, dry_run: bool = False, **wanted: object) -> Added:
        api = self.api()
        catalog = ProfileCatalog(self.control, ApiDirectory(api), "tenantId")
        return ApiProvisioner(api, catalog, {"stage": "test"}).add(
            Wanted(tenant, sources, **wanted),  # type: ignore[arg-type]
            dry_run=dry_run,
        )

    @property
    def limits(self) -> list[Limit]:
        return [one.limit for one in self.office.gauges.gauges["acme"].layout.limits]

    def changes(self) -> list[str]:
        return [one for one in self.sent if not one.startswith("GET ")]


def over_the_tables(*sources: str, **wanted: object) -> Added:
    """Add a tenant as ``--stack`` does, in a world of its own."""
    tables, control = Tables(), MemoryControlPlane()
    provisioner = Provisioner(
        tables,
        MemoryInstallationStore(MemoryTables()),
        ProfileCatalog(control, tables, "tenantId"),
        MemoryAudit(),
        by="somebody",
        clock=lambda: NOW_MS,
        new_id=lambda: "x",
    )
    return provisioner.add(Wanted("acme", sources, **wanted))  # type: ignore[arg-type]


def test_it_says_and_does_what_the_tables_would() -> None:
    scene = Scene()
    wanted: dict[str, Any] = {"timezone": "Europe/Berlin", "name": "Acme", "limits": (limit("1h"), limit("month", 7))}
    added = scene.add("acme", HAIKU, SONNET, **wanted)
    expected = over_the_tables(HAIKU, SONNET, **wanted)
    assert (added.changed, added.profiles) == (expected.changed, expected.profiles)
    assert [(one.model, one.routing, one.geography) for one in added.profiles] == [
        (HAIKU_ID, "in-region", None),
        (SONNET_ID, "geo", "us"),
    ]
    definition = scene.office.tenants.tenant("acme")
    assert definition is not None
    assert (definition.name, definition.timezone, scene.limits) == ("Acme", "Europe/Berlin", list(definition.limits))
    assert definition.profiles == tuple(one.reference for one in added.profiles)
    for one in added.profiles:
        assert scene.control.tags_by_arn[one.arn] == {"tenantId": "acme", "stage": "test"}
        period = MappingPeriod("acme", 0, None, one.model, one.routing, BY_PERSON, one.geography)
        assert scene.office.tenants.periods(one.reference.id)[1] == (period,), "its price depends on the routing"
    again = scene.add("acme", HAIKU, SONNET, **wanted)
    assert (again.changed, [one.how for one in again.profiles]) == ((), [HAD, HAD])
    assert scene.changes() == ["PUT tenants/acme"] * 2
    # What it does not speak of stays.
    assert scene.add("acme", plan="gold").changed == ("tenant",)
    kept = scene.office.tenants.tenant("acme")
    assert kept is not None
    assert (kept.plan, kept.name, kept.profiles, kept.limits) == (
        "gold",
        "Acme",
        definition.profiles,
        definition.limits,
    )


def test_a_dry_run_changes_nothing() -> None:
    scene = Scene()
    added = scene.add("acme", HAIKU, limits=(limit("1h"),), dry_run=True)
    assert added.changed == ("limits", f"created {HAIKU_ID}", "tenant")
    assert (scene.changes(), scene.control.profiles, scene.office.tenants.definitions) == ([], {}, {})


def test_limits_are_there_before_the_profile_and_what_the_api_refuses_makes_none() -> None:
    scene = Scene()

    def look(profile: object) -> None:
        assert scene.limits == [limit("1h")]

    scene.control.after_create = look
    scene.add("acme", HAIKU, limits=(limit("1h"),))
    assert "create" in scene.control.asked
    before = len(scene.control.profiles)
    let_another_be_first(scene, "globex")
    with pytest.raises(CommandFailed, match="412"):
        scene.add("globex", HAIKU)
    assert len(scene.control.profiles) == before


def let_another_be_first(scene: Scene, tenant: str) -> None:
    """Let somebody else make the tenant between this command's reading and its change."""

    def other(request: str) -> None:
        if request.startswith("PUT "):
            scene.before = lambda request: None
            scene.office.put({"timezone": "UTC"}, NEW, f"{TENANTS}/{tenant}")

    scene.before = other


def test_a_command_that_died_between_profile_and_registration_is_finished_by_the_next() -> None:
    scene = Scene()

    def die(profile: object) -> None:
        raise Killed

    scene.control.after_create = die
    with pytest.raises(Killed):
        scene.add("acme", HAIKU, limits=(limit("1h"),))
    (made,) = scene.control.profiles.values()
    assert scene.office.tenants.mappings == {}
    scene.control.after_create = lambda profile: None
    added = scene.add("acme", HAIKU, limits=(limit("1h"),))
    assert [(one.how, one.arn) for one in added.profiles] == [(ADOPTED, made.arn)]
    assert list(scene.control.profiles) == [made.id]
    assert scene.office.tenants.periods(made.id)[1][-1].tenant == "acme"


def test_a_profile_that_a_tag_has_brought_stays_the_tags_until_it_is_asked_for() -> None:
    scene = Scene()
    scene.add("acme", limits=(limit("1h"),))
    made = scene.control.add("tagged", HAIKU, tenantId="acme")
    tenants = scene.office.tenants
    map_profile(tenants, ProfileReference("tagged", made.arn, HAIKU_ID), "acme", NOW_MS, BY_TAG)
    definition = tenants.definitions["acme"][0]
    held = (ProfileReference("tagged", made.arn, HAIKU_ID, "in-region", tagged=True),)
    tenants.definitions["acme"] = replace(definition, profiles=held), NOW_MS
    scene.add("acme", name="Acme")
    known = tenants.tenant("acme")
    assert known is not None
    assert (known.name, known.profiles, tenants.periods("tagged")[1][-1].by) == ("Acme", held, BY_TAG)
    added = scene.add("acme", HAIKU)
    assert [one.how for one in added.profiles] == [ADOPTED]
    assert tenants.periods("tagged")[1][-1].by == BY_PERSON


def test_a_profile_of_another_tenant_is_never_taken() -> None:
    scene = Scene()
    scene.control.add("theirs", HAIKU, tenantId="acme")  # its tag says acme, and a person has said globex
    scene.office.put({"profiles": ["theirs"]}, NEW, f"{TENANTS}/globex")
    added = scene.add("acme", HAIKU)
    assert [one.how for one in added.profiles] == [CREATED]
    assert scene.office.tenants.periods("theirs")[1][-1].tenant == "globex"
    scene.control.add("named", SONNET, name=profile_name("acme", SONNET))
    with pytest.raises(Exception, match="its tag tenantId does not name acme"):
        scene.add("acme", SONNET)


def test_a_removed_tenant_comes_back() -> None:
    scene = Scene()
    scene.add("acme", HAIKU, limits=(limit("1h"),))
    scene.api().remove("acme")
    added = scene.add("acme", HAIKU)
    assert added.changed == (f"{ADOPTED} {HAIKU_ID}", "tenant")
    assert added.effective_ms - NOW_MS in range(HANDOVER_MS, HANDOVER_MS + 1_000)
    known = scene.office.tenants.tenant("acme")
    assert known is not None
    assert (known.removed_ms, len(known.profiles)) == (None, 1)


def test_profiles_are_asked_for_in_as_few_requests_as_hold_them() -> None:
    scene = Scene()
    names = [f"profile{number:05}" for number in range(250)]
    scene.office.put({"profiles": names[:200]}, NEW, f"{TENANTS}/acme")
    found = ApiDirectory(scene.api()).ask(Question(profiles=names)).profiles
    assert list(found) == names[:200]
    assert found[names[0]] == [MappingPeriod("acme", 0, None)]
    assert scene.sent == ["GET profiles"] * 3
    assert [len(one) for one in chunks(["x" * 120] * 100)] == [12] * 8 + [4]
    assert chunks([]) == []


def test_profiles_to_delete_are_found_and_noted_by_hundreds() -> None:
    scene = Scene()
    names = [scene.control.add(f"profile{number:05}", HAIKU, tenantId="acme").id for number in range(150)]
    scene.office.put({"profiles": names}, NEW, f"{TENANTS}/acme")
    found = deletable(scene.control, ApiDirectory(scene.api()), "acme")
    assert [one.id for one in found] == names
    scene.sent.clear()
    removed = scene.api().remove("acme", names)
    assert (removed["changed"], removed["ended"]) == (True, names)
    assert scene.sent == ["DELETE tenants/acme"] * 2
    notes = [one.after["delete_profiles"] for one in scene.office.tenants.notes if one.what == "remove" and one.after]
    assert [one for note in notes for one in note] == names


def test_profiles_are_made_in_the_meters_own_region_only() -> None:
    here = Caller("me", "aws", "123456789012", "us-east-1")
    check_region(Scene().api(), here)
    with pytest.raises(BadInput, match="AWS_REGION=us-east-1"):
        check_region(Scene().api(), replace(here, region="eu-west-1"))
    check_region(AdminApi("http://127.0.0.1:4566/x", lambda *_: (200, {}, "")), here)


def test_an_answer_without_a_body_may_call_itself_json() -> None:
    AdminApi(URL, lambda *_: (204, {"Content-Type": "application/json"}, "")).resume("acme")


def test_a_conflict_that_waiting_cannot_solve_is_wrong_input() -> None:
    def answer(headers: Mapping[str, str]) -> AdminApi:
        document = json.dumps({"detail": "acme is still there"})
        return AdminApi(URL, lambda *_: (409, {"Content-Type": "application/problem+json", **headers}, document))

    with pytest.raises(BadInput, match="still there"):
        answer({}).erase("acme", None)
    with pytest.raises(CommandFailed) as raised:
        answer({"Retry-After": "1"}).erase("acme", None)
    assert not isinstance(raised.value, BadInput)
