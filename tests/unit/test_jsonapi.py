"""Documents in and out: what the real CLIs send, what is refused and where, round trips."""

import json
from typing import Annotated, Any, ClassVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, UnsetType

from terrapod_control_plane.configurations.schema import ConfigurationCreate
from terrapod_control_plane.kernel.jsonapi import (
    Compound,
    Invalid,
    Page,
    Payload,
    Problem,
    Resource,
    dump,
    dump_errors,
    load,
    load_all,
)
from terrapod_control_plane.kernel.relations import many, one
from terrapod_control_plane.runs.schema import Comment, RunCreate
from terrapod_control_plane.workspaces.schema import BindingIn, Reason, TagIn, WorkspaceSettings

# --- what was recorded of the real command lines --------------------------------------------------


def body(data: Any) -> bytes:
    return json.dumps({"data": data}).encode()


RUN = {
    "type": "runs",
    "attributes": {
        "auto-apply": False,
        "refresh": True,
        "save-plan": False,
        "variables": [{"key": "who", "value": '"cli"'}],
    },
    "relationships": {
        "configuration-version": {"data": {"type": "configuration-versions", "id": "cv-2"}},
        "workspace": {"data": {"type": "workspaces", "id": "ws-1"}},
    },
}


def test_a_run_as_the_cli_asks_for_it() -> None:
    run = load(body(RUN), RunCreate)
    assert (run.workspace, run.configuration_version) == ("ws-1", "cv-2")
    assert [(v.key, v.value) for v in run.variables or []] == [("who", '"cli"')]
    assert (run.auto_apply, run.refresh, run.save_plan, run.plan_only) == (False, True, False, None)


@pytest.mark.parametrize(
    ("attributes", "given"),
    [
        ({"name": "app"}, {"name": "app"}),
        ({"terraform-version": "1.11.4"}, {"terraform_version": "1.11.4"}),
        ({"working-directory": None}, {"working_directory": None}),
        ({}, {}),
    ],
)
def test_only_what_was_sent_is_given(attributes: dict[str, Any], given: dict[str, Any]) -> None:
    sent = body({"type": "workspaces", "attributes": attributes})
    assert load(sent, WorkspaceSettings).given() == given


def test_new_tags_come_without_ids() -> None:
    tags = [{"type": "tags", "attributes": {"name": name}} for name in ("team-a", "prod")]
    bound = [{"type": "tag-bindings", "attributes": {"key": "app", "value": "x"}}]
    relationships = {"tags": {"data": tags}, "tag-bindings": {"data": bound}}
    sent = {"type": "workspaces", "attributes": {"name": "a"}, "relationships": relationships}
    new = load(body(sent), WorkspaceSettings).new_tags
    assert [tag.key for tag in new] == ["team-a", "prod", "app"]


def test_a_configuration_as_both_backends_ask_for_it() -> None:
    flags = {"auto-queue-runs": False, "provisional": False, "speculative": True}
    cloud = load(body({"type": "configuration-versions", "attributes": flags}), ConfigurationCreate)
    assert (cloud.auto_queue_runs, cloud.speculative) == (False, True)


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (
            body({"type": "", "attributes": {"reason": "Locked by Terraform"}}),
            "Locked by Terraform",
        ),
        (b'{"reason": "plain"}', "plain"),
        (b'{"type": "whatever", "reason": "plain"}', "plain"),
        (b"{}", None),
        (b"", None),
        (b" \n", None),
        (body({}), None),
        (body({"type": "locks", "attributes": None}), None),
    ],
)
def test_an_action_takes_a_document_plain_members_or_nothing(
    sent: bytes, reason: str | None
) -> None:
    assert load(sent, Reason).reason == reason


def test_a_comment_may_be_null() -> None:
    assert load(b'{"comment": null}', Comment).comment is None
    assert load(b"{}", Comment).comment is None


def test_bindings_come_as_a_list() -> None:
    sent = body([{"type": "tag-bindings", "attributes": {"key": "env", "value": "prod"}}])
    assert [(b.key, b.value) for b in load_all(sent, BindingIn)] == [("env", "prod")]
    assert [t.key for t in load_all(body([{"type": "tags", "id": "prod"}]), TagIn)] == ["prod"]
    assert load_all(body([]), TagIn) == []


@pytest.mark.parametrize("type_", ["", None])
def test_an_empty_type_is_taken_for_the_right_one(type_: str | None) -> None:
    assert load(body(RUN | {"type": type_}), RunCreate).workspace == "ws-1"
    linked = {"workspace": {"data": {"type": "", "id": "ws-1"}}}
    assert load(body({"type": "runs", "relationships": linked}), RunCreate).workspace == "ws-1"


def test_an_attribute_does_not_stand_in_for_a_relation() -> None:
    sent = {"type": "runs", "attributes": {"workspace": "ws-9"}}
    with pytest.raises(Invalid) as caught:
        load(body(sent), RunCreate)
    assert caught.value.problem.source == {"pointer": "/data/relationships/workspace"}


# --- what comes out -------------------------------------------------------------------------------


class Shelf(Resource, tag="shelves", kw_only=True):
    at: ClassVar[str] = "/api/v2/shelves/{id}"
    full_name: str
    places: int | None = None
    room: Annotated[str | None, one("rooms")] = None
    held_by: Annotated[str | None, one()] = None
    books: Annotated[list[str], many("books")] = []


class NewShelf(Payload, tag="shelves", kw_only=True):
    id: str
    full_name: str
    places: int | UnsetType | None = UNSET
    room: Annotated[str | UnsetType | None, one("rooms")] = UNSET
    books: Annotated[list[str] | UnsetType, many("books")] = UNSET


IDS = st.text("abc", min_size=1, max_size=4)


@given(
    st.builds(
        Shelf,
        id=IDS,
        full_name=st.text(),
        places=st.none() | st.integers(-(2**53), 2**53),
        room=st.none() | IDS,
        books=st.lists(IDS, max_size=3),
    )
)
def test_what_is_dumped_can_be_loaded(shelf: Shelf) -> None:
    back = load(msgspec.json.encode(dump(shelf)), NewShelf)
    assert back.given() == {
        "id": shelf.id,
        "full_name": shelf.full_name,
        "places": shelf.places,
        "room": shelf.room,
        "books": shelf.books,
    }


def test_a_document_in_full() -> None:
    assert dump(Shelf(id="s", full_name="a", held_by="run-1")) == {
        "data": {
            "id": "s",
            "type": "shelves",
            "attributes": {"full-name": "a", "places": None},
            "relationships": {
                "room": {"data": None},
                "held-by": {"data": {"id": "run-1", "type": "runs"}},
                "books": {"data": []},
            },
            "links": {"self": "/api/v2/shelves/s"},
        }
    }


def test_an_empty_list_has_no_pages_and_still_a_first_one() -> None:
    document = dump(Page[Shelf](items=[], number=1, size=20, total=0), "/x")
    assert document["data"] == []
    assert document["meta"]["pagination"] == {
        "current-page": 1,
        "page-size": 20,
        "prev-page": None,
        "next-page": None,
        "total-pages": 0,
        "total-count": 0,
    }
    assert document["links"]["last"].endswith("page%5Bnumber%5D=1")


@given(st.integers(1, 20), st.integers(1, 9), st.integers(0, 60))
def test_following_the_pages_ends_at_the_last(number: int, size: int, total: int) -> None:
    page = Page[Shelf](items=[], number=number, size=size, total=total)
    meta = dump(page)["meta"]["pagination"]
    assert (meta["total-pages"] - 1) * size < max(total, 1) <= max(meta["total-pages"], 1) * size
    following = meta["next-page"]
    assert following is None or following == number + 1 <= meta["total-pages"]
    assert (meta["prev-page"] or 0) == number - 1


def test_links_of_pages_keep_the_filters() -> None:
    page = Page[Shelf](items=[], number=2, size=5, total=50)
    links = dump(page, "/x", "search%5Btags%5D=a")["links"]
    assert set(links) == {"self", "first", "last", "prev", "next"}
    assert all(
        link.startswith("/x?search%5Btags%5D=a&page%5Bsize%5D=5&") for link in links.values()
    )
    assert links["next"].endswith("page%5Bnumber%5D=3")


def test_what_is_included_comes_once() -> None:
    shelf = Shelf(id="s", full_name="a")
    twice = [Shelf(id="t", full_name="b"), Shelf(id="t", full_name="b")]
    assert [r["id"] for r in dump(Compound(shelf, twice))["included"]] == ["t"]


def test_a_problem_has_a_status_of_text() -> None:
    assert dump_errors([Problem("404", "not found")]) == {
        "errors": [{"status": "404", "title": "not found"}]
    }
