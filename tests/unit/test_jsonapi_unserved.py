"""What a document asks for and a payload does not have is refused by its name."""

import json
from collections.abc import Collection, Mapping
from typing import Any, ClassVar

import pytest

from terrapod_control_plane.kernel.jsonapi import ANY, Invalid, Payload, Resource, load
from terrapod_control_plane.runs.schema import RunCreate

WORKSPACE = {"data": {"type": "workspaces", "id": "ws-1"}}
RUN: dict[str, Any] = {"type": "runs", "relationships": {"workspace": WORKSPACE}}


def body(data: Any) -> bytes:
    return json.dumps({"data": data}).encode()


@pytest.mark.parametrize("shape", [None, [], {}, {"data": None}, {"data": []}])
def test_relations_that_are_not_ours_may_be_empty(shape: Any) -> None:
    sent = RUN | {"relationships": {**RUN["relationships"], "policy-set": shape}}
    assert load(body(sent), RunCreate).workspace == "ws-1"


@pytest.mark.parametrize("shape", [1, "x", {"data": 3}, {"data": [1]}, {"data": {"id": 1}}])
def test_relations_that_are_not_ours_are_refused_by_name(shape: Any) -> None:
    sent = RUN | {"relationships": {**RUN["relationships"], "policy-set": shape}}
    with pytest.raises(Invalid) as caught:
        load(body(sent), RunCreate)
    assert caught.value.problem.status == "422"
    assert caught.value.problem.source == {"pointer": "/data/relationships/policy-set"}


@pytest.mark.parametrize("value", [True, 1, "x", [1], {"a": 1}])
def test_attributes_that_are_not_ours_are_refused_by_name(value: Any) -> None:
    sent = RUN | {"attributes": {"debugging-mode": value}}
    with pytest.raises(Invalid) as caught:
        load(body(sent), RunCreate)
    assert caught.value.problem.status == "422"
    assert caught.value.problem.source == {"pointer": "/data/attributes/debugging-mode"}
    assert "debugging-mode" in caught.value.problem.detail


@pytest.mark.parametrize("value", [None, False, 0, "", [], {}])
def test_attributes_that_are_not_ours_may_ask_for_nothing(value: Any) -> None:
    sent = RUN | {"attributes": {"debugging-mode": value}}
    assert load(body(sent), RunCreate).workspace == "ws-1"


class Thing(Resource, tag="things", kw_only=True):
    name: str
    color: str
    size: int


class ThingChange(Payload, tag="things", kw_only=True):
    echoes: ClassVar[type[Resource] | None] = Thing
    idle: ClassVar[Mapping[str, Collection[Any]]] = {
        "scoped": (True,), "note": ANY, "size": (3,)
    }  # fmt: skip
    name: str


@pytest.mark.parametrize(
    ("attributes", "fine"),
    [
        ({"color": "as it was shown"}, True),
        ({"size": 3}, True),
        ({"size": 4}, False),
        ({"scoped": True, "note": ["anything"]}, True),
        ({"scoped": False}, False),
    ],
)
def test_what_is_shown_may_be_sent_back_but_not_changed(
    attributes: dict[str, Any], *, fine: bool
) -> None:
    sent = body({"type": "things", "attributes": {"name": "a"} | attributes})
    if fine:
        assert load(sent, ThingChange).name == "a"
    else:
        with pytest.raises(Invalid):
            load(sent, ThingChange)
