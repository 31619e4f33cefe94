"""Documents that are refused: with which status, and what they say is wrong where."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from terrapod_control_plane.kernel.jsonapi import Invalid, Payload, load, load_all
from terrapod_control_plane.runs.schema import RunCreate
from terrapod_control_plane.workspaces.schema import Reason, WorkspaceSettings


def body(data: Any) -> bytes:
    return json.dumps({"data": data}).encode()


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"3",
        b"{}",
        b'{"data": null}',
        b'{"data": []}',
        b'{"data": 3}',
        b'{"data": {"attributes": []}}',
        b'{"data": {"type": 3}}',
        b"\xff\xfe",
        b'{"data": ' + b"[" * 100_000,
        b'{"data": {"attributes": {"a": ' + b"[" * 100_000,
    ],
    ids=lambda sent: repr(sent[:30]),
)
def test_what_is_no_document_is_a_bad_request(sent: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        load(sent, RunCreate)
    assert caught.value.problem.status == "400"


@pytest.mark.parametrize("sent", [b"{", b"[]", b"3", b"\xff", b'{"a":' * 100_000])
def test_a_bare_payload_has_to_be_an_object_too(sent: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        load(sent, Reason)
    assert caught.value.problem.status == "400"


LINK = {"data": {"type": "workspaces", "id": "ws-1"}}


@pytest.mark.parametrize(
    ("data", "pointer"),
    [
        ({"type": "runs"}, "/data/relationships/workspace"),
        ({"type": "plans", "relationships": {"workspace": LINK}}, "/data/type"),
        ({"attributes": {"refresh": "yes"}}, "/data/attributes/refresh"),
        ({"attributes": {"target-addrs": "a"}}, "/data/attributes/target-addrs"),
        ({"attributes": {"target-addrs": [1]}}, "/data/attributes/target-addrs"),
        ({"attributes": {"variables": [{"key": "a"}]}}, "/data/attributes/variables"),
        ({"relationships": {"workspace": 3}}, None),
        ({"relationships": {"workspace": {"data": "ws-1"}}}, None),
        ({"relationships": {"workspace": {"data": {"id": 1}}}}, None),
        ({"relationships": {"workspace": {"data": {"type": "workspaces"}}}},
         "/data/relationships/workspace"),
        ({"relationships": {"workspace": {"data": {"type": "runs", "id": "run-1"}}}},
         "/data/relationships/workspace"),
        ({"relationships": {"workspace": {"data": None}}}, "/data/relationships/workspace"),
        ({"relationships": {"workspace": {"data": []}}}, "/data/relationships/workspace"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_told_with_its_place(
    data: dict[str, Any], pointer: str | None
) -> None:
    whole: dict[str, Any] = {"type": "runs", "relationships": {"workspace": LINK}} | data
    if data == {"type": "runs"}:
        whole = data
    with pytest.raises(Invalid) as caught:
        load(body(whole), RunCreate)
    problem = caught.value.problem
    assert problem.status == "422"
    if pointer is not None:
        assert problem.source == {"pointer": pointer}


def refused_or_read(read: Callable[..., Any], sent: bytes, into: type[Payload]) -> str:
    """The status of a refusal; nothing else may be raised."""
    try:
        read(sent, into)
    except Invalid as error:
        return error.problem.status
    return "200"


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(sent: bytes) -> None:
    for into in (RunCreate, Reason, WorkspaceSettings):
        assert refused_or_read(load, sent, into) in ("200", "400", "422")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["data", "type", "id", "attributes", "relationships", "workspace", "tags"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_json_is_read_or_refused(value: Any) -> None:
    sent = json.dumps(value).encode()
    for into in (RunCreate, Reason, WorkspaceSettings):
        assert refused_or_read(load, sent, into) in ("200", "400", "422")
        assert refused_or_read(load_all, sent, into) in ("200", "400", "422")
