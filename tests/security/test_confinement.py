"""Directories stay inside an endpoint's roots: every way out of them that a name or a link can offer is tried.

What holds is said by `admitted_directory`, which the start of a thread and an adoption both ask. What cannot hold: the
provider opens the directory later and by name, so whoever may write in a root may put a link in its place meanwhile.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.adoption import AdoptionActivities
from activities.confinement import admitted_directory, refuse_outside
from activities.endpoints import Endpoints
from activities.session import SessionActivities
from activities.submit import SubmitActivities
from tests.unit.opencode_on_paper import MESSAGE, SESSION, as_json, driver_of, session
from turnkeeper.errors import RefusedError
from turnkeeper.findings import AdoptRequest
from turnkeeper.limits import MAX_DIRECTORY_CHARACTERS
from turnkeeper.observations import PromptRequest, Refused, SessionReport, SessionRequest, SubmitReport
from turnkeeper.opencode.driver import OpenCodeDriver
from turnkeeper.settings import EndpointSettings
from turnkeeper.thread_messages import ThreadInput

OUTSIDE: Final = "directory_outside_roots"
MISSING: Final = "no_directory"
BAD: Final = "bad_directory"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Path]:
    """`root` may be worked in; `elsewhere` may not; `root-2` only looks as if it might."""
    for name in ("root/inside", "root/ähnlich", "elsewhere/below", "root-2"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "root/file").touch()
    links = {
        "root/to-inside": "inside",
        "root/out": "../elsewhere",
        "root/out-in-two": "hop",
        "root/hop": str(tmp_path / "elsewhere"),
        "root/out-and-in": "../elsewhere/back",
        "elsewhere/back": "../root/inside",
        "root/circle": "circle",
        "root/ping": "pong",
        "root/pong": "ping",
        "root/dangling": "nothing",
        "root/to-file": "file",
        "link-to-root": "root",
    }
    for name, target in links.items():
        (tmp_path / name).symlink_to(target)
    yield tmp_path
    for name in links:  # pytest's own cleaning fails on a circle of links
        (tmp_path / name).unlink(missing_ok=True)


def settings_of(*roots: Path | str, shares: bool = True) -> EndpointSettings:
    given = {"url": "http://127.0.0.1:9", "roots": roots, "shares_filesystem": shares}
    return EndpointSettings.model_validate(given)


def refusal(directory: str, settings: EndpointSettings) -> str:
    with pytest.raises(RefusedError) as refused:
        admitted_directory(directory, settings)
    assert len(str(refused.value).splitlines()) == 1
    return refused.value.detail_code


# --- with the provider's file system in sight -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("root", "root"),
        ("root/", "root"),
        ("root//inside///", "root/inside"),
        ("root/./inside/.", "root/inside"),
        ("root/inside/../inside", "root/inside"),
        ("elsewhere/../root/inside", "root/inside"),
        ("root/to-inside", "root/inside"),
        ("root/out-and-in", "root/inside"),
        ("link-to-root/inside", "root/inside"),
        ("root/ähnlich", "root/ähnlich"),
    ],
)
def test_what_leads_inside_is_admitted_by_its_true_name(world: Path, name: str, found: str) -> None:
    assert admitted_directory(f"{world}/{name}", settings_of(world / "root")) == str(world / found)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("", OUTSIDE),
        ("root/..", OUTSIDE),
        ("root/../elsewhere", OUTSIDE),
        ("root/inside/../../elsewhere/below", OUTSIDE),
        ("root-2", OUTSIDE),
        ("root/out", OUTSIDE),
        ("root/out/below", OUTSIDE),
        ("root/out-in-two", OUTSIDE),
        ("root/to-inside/../../elsewhere", OUTSIDE),
        ("root/circle", MISSING),
        ("root/ping/below", MISSING),
        ("root/dangling", MISSING),
        ("root/file", MISSING),
        ("root/to-file", MISSING),
        ("root/nothing", MISSING),
        ("ROOT/inside", MISSING),
        ("root/Inside", MISSING),
        ("root/inside\0", BAD),
        ("root/" + "x" * 300, MISSING),
        ("root/" + "x/" * 3000, MISSING),
        ("root/inside\n", MISSING),
        ("root/" + unicodedata.normalize("NFD", "ähnlich"), MISSING),
        ("root/%2e%2e/elsewhere", MISSING),
        ("root/~", MISSING),
        ("root/$HOME", MISSING),
        ("root/\ud800", BAD),
    ],
)
def test_what_does_not_is_refused(world: Path, name: str, code: str) -> None:
    assert refusal(f"{world}/{name}", settings_of(world / "root")) == code


@pytest.mark.parametrize("directory", ["", ".", "..", "inside", "~", "file:///", "-rf", "\0"])
def test_what_is_not_absolute_is_refused(world: Path, directory: str) -> None:
    assert refusal(directory, settings_of(world / "root")) == BAD


def test_a_root_that_is_a_link_is_what_it_leads_to(world: Path) -> None:
    linked = settings_of(world / "link-to-root")
    assert admitted_directory(str(world / "root/inside"), linked) == str(world / "root/inside")
    assert refusal(str(world / "elsewhere"), linked) == OUTSIDE


def test_a_name_that_is_not_utf8_cannot_be_kept_and_is_refused(world: Path) -> None:
    """Temporal and OpenCode speak UTF-8: such a directory exists and can never be told to either."""
    strange = world / "root" / os.fsdecode(b"\xff")
    strange.mkdir()
    assert refusal(str(strange), settings_of(world / "root")) == BAD


def test_a_directory_that_cannot_be_entered_is_as_good_as_missing(world: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root enters everything")
    (world / "root/inside").chmod(0)
    assert refusal(str(world / "root/inside/below"), settings_of(world / "root")) == MISSING
    (world / "root/inside").chmod(0o700)


def test_a_link_that_is_turned_round_later_does_not_change_what_was_admitted(world: Path) -> None:
    """The true name is kept, not the link's: turning the link leads nowhere else."""
    link = world / "root/to-inside"
    admitted = admitted_directory(str(link), settings_of(world / "root"))
    link.unlink()
    link.symlink_to("../elsewhere")
    assert admitted == str(world / "root/inside")
    assert refusal(str(link), settings_of(world / "root")) == OUTSIDE


def test_a_directory_that_is_replaced_by_a_link_is_refused_the_next_time(world: Path) -> None:
    """What was admitted before stays admitted: the limit of what a check can promise, said in SECURITY.md."""
    inside, settings = world / "root/inside", settings_of(world / "root")
    assert admitted_directory(str(inside), settings) == str(inside)
    inside.rmdir()
    inside.symlink_to("../elsewhere")
    assert refusal(str(inside), settings) == OUTSIDE
    inside.unlink()


PARTS: Final = st.lists(
    st.sampled_from(["root", "inside", "out", "out-and-in", "hop", "elsewhere", "below", "back", "..", ".", "", "~"]),
    max_size=8,
)


def test_whatever_is_admitted_is_inside(world: Path) -> None:
    settings, root = settings_of(world / "root"), (world / "root").resolve()

    @given(PARTS)
    def check(parts: list[str]) -> None:
        try:
            found = admitted_directory("/".join([str(world), *parts]), settings)
        except RefusedError:
            return
        assert Path(found).is_relative_to(root)
        assert os.path.realpath(found) == found

    check()


# --- without it -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("directory", "found"),
    [
        ("/srv/projects", "/srv/projects"),
        ("/srv/projects/", "/srv/projects"),
        ("/srv/projects/a/../shop/.", "/srv/projects/shop"),
        ("/tmp/../srv/projects/shop", "/srv/projects/shop"),  # noqa: S108 - a name, nothing is made there
    ],
)
def test_unseen_directories_are_compared_by_name(directory: str, found: str) -> None:
    assert admitted_directory(directory, settings_of("/srv/projects", shares=False)) == found


@pytest.mark.parametrize(
    ("directory", "code"),
    [
        ("/srv/projects/..", OUTSIDE),
        ("/srv/projects/../../etc", OUTSIDE),
        ("/srv/projects-2", OUTSIDE),
        ("//srv/projects", OUTSIDE),
        ("/srv/Projects", OUTSIDE),
        ("/srv/projects/\0", BAD),
        ("/srv/projects/\ud800", BAD),
        ("srv/projects", BAD),
    ],
)
def test_unseen_directories_are_refused_by_name(directory: str, code: str) -> None:
    assert refusal(directory, settings_of("/srv/projects", shares=False)) == code


@given(st.lists(st.sampled_from(["srv", "projects", "shop", "..", ".", "", "etc"]), max_size=10))
def test_whatever_is_admitted_by_name_is_inside_by_name(parts: list[str]) -> None:
    settings = settings_of("/srv/projects", shares=False)
    try:
        found = admitted_directory("/" + "/".join(parts), settings)
    except RefusedError:
        return
    assert found == "/srv/projects" or found.startswith("/srv/projects/")
    assert ".." not in Path(found).parts


# --- the other doors --------------------------------------------------------------------------------------------------


def test_a_directory_too_long_for_a_path_is_no_input() -> None:
    with pytest.raises(ValidationError):
        ThreadInput(thread_id="t", endpoint="box", directory="/" + "x" * MAX_DIRECTORY_CHARACTERS)


class PaperEndpoints(Endpoints):
    """One endpoint, `box`, whose OpenCode answers from a table."""

    def __init__(self, settings: EndpointSettings, found: str = "") -> None:
        super().__init__({"box": settings})
        routes = {f"GET /session/{SESSION}": as_json(session(found)), "GET /session/status": as_json({})}
        self._paper_driver, self.paper = driver_of(routes)

    def driver(self, name: str) -> OpenCodeDriver:
        assert name == "box"
        return self._paper_driver


@pytest.mark.parametrize(
    ("name", "code"),
    [("elsewhere", OUTSIDE), ("root/out", OUTSIDE), ("root/to-inside", "linked_directory"), ("root/nothing", MISSING)],
)
async def test_a_session_that_works_outside_is_not_adopted_and_not_changed(world: Path, name: str, code: str) -> None:
    endpoints = PaperEndpoints(settings_of(world / "root"), str(world / name))
    request = AdoptRequest(endpoint="box", session_id=SESSION, thread_id="ada", namespace="default")
    with pytest.raises(ApplicationError) as refused:
        await ActivityEnvironment().run(AdoptionActivities(endpoints).adopt_session, request)
    assert refused.value.type == code
    assert {call.partition(" ")[0] for call in endpoints.paper.calls()} == {"GET"}
    await endpoints.close()


async def opened(endpoints: Endpoints, directory: Path) -> SessionReport:
    request = SessionRequest(
        endpoint="box",
        thread_id="ada",
        namespace="default",
        directory=str(directory),
        session_id=None,
        creation_key="key",
        title="ada",
    )
    return await ActivityEnvironment().run(SessionActivities(endpoints).open_session, request)


async def submitted(endpoints: Endpoints, directory: Path) -> SubmitReport:
    request = PromptRequest(
        endpoint="box", directory=str(directory), session_id=SESSION, message_id=MESSAGE, prompt="go"
    )
    return await ActivityEnvironment().run(SubmitActivities(endpoints).submit, request)


@pytest.mark.parametrize("send", [opened, submitted])
@pytest.mark.parametrize("name", ["", "elsewhere", "root/../elsewhere", "root/out", "root/circle", "root-2"])
async def test_a_turn_that_was_started_past_the_door_sends_nothing_outside(
    world: Path, name: str, send: Callable[[Endpoints, Path], Awaitable[SessionReport | SubmitReport]]
) -> None:
    """Whoever may use Temporal can start a `Turn` with any input, without asking its thread."""
    endpoints = PaperEndpoints(settings_of(world / "root"))
    report = await send(endpoints, world / name)
    assert isinstance(report, Refused), report
    assert report.failure.code == OUTSIDE
    assert endpoints.paper.calls() == []
    await endpoints.close()


@pytest.mark.parametrize("send", [opened, submitted])
async def test_a_directory_that_became_a_link_after_it_was_admitted_gets_no_prompt(
    world: Path, send: Callable[[Endpoints, Path], Awaitable[SessionReport | SubmitReport]]
) -> None:
    inside, endpoints = world / "root/inside", PaperEndpoints(settings_of(world / "root"))
    assert not isinstance(await send(endpoints, inside), Refused) or endpoints.paper.calls()
    inside.rmdir()
    inside.symlink_to("../elsewhere")
    asked = len(endpoints.paper.calls())
    report = await send(endpoints, inside)
    inside.unlink()
    assert isinstance(report, Refused), report
    assert len(endpoints.paper.calls()) == asked
    await endpoints.close()


@pytest.mark.parametrize("directory", ["/etc", "/srv/projects/../../etc"])
async def test_the_same_without_the_file_system(directory: str) -> None:
    endpoints = PaperEndpoints(settings_of("/srv/projects", shares=False))
    assert isinstance(await submitted(endpoints, Path(directory)), Refused)
    assert endpoints.paper.calls() == []
    await endpoints.close()


def test_a_directory_that_is_gone_is_for_the_provider_to_say(world: Path) -> None:
    settings = settings_of(world / "root")
    assert refuse_outside(str(world / "root/gone"), settings) is None
    assert refuse_outside("", settings) is not None
