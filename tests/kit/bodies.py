"""A valid body for every route that takes one."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from terrapod_agent.identity import certificate_request, new_key
from tests.kit import factories

_STATE = factories.state(2)
_CSR = certificate_request(new_key(), "agent")


class Body(Struct, frozen=True):
    """What is sent, with the query that goes with it; ``{name}`` stands for an id of a test."""

    content: bytes
    query: str = ""

    def filled(self, ids: Mapping[str, str]) -> bytes:
        """The content with the ids in their places."""

        def named(found: re.Match[bytes]) -> bytes:
            # As JSON, without its quotes: an id of a test may be any odd text.
            return json.dumps(ids[found[1].decode()])[1:-1].encode()

        return re.sub(rb"{([a-z_]+)}", named, self.content)


def document(type_: str, attributes: dict[str, Any], **related: tuple[str, str]) -> Body:
    """A document of one resource; relationships are given as type and id."""
    links = {name: {"data": {"type": kind, "id": id_}} for name, (kind, id_) in related.items()}
    return _plain({"data": {"type": type_, "attributes": attributes, "relationships": links}})


def _linkage(type_: str, **attributes: Any) -> Body:
    return _plain({"data": [{"type": type_, "attributes": attributes}]})


def _plain(value: Any, query: str = "") -> Body:
    return Body(json.dumps(value).encode(), query)


_TOKEN = document("authentication-tokens", {"description": "for a test"})
_DESCRIBED = document("workspaces", {"description": "another"})
_COMMENT = _plain({"comment": "for a test"})
_JOIN = _plain({"join_token": "{join_token}", "name": "another", "csr": _CSR})
_CONSUMERS = _plain({"data": [{"type": "workspaces", "id": "{workspace_id}"}]})
_STATE_BYTES = Body(_STATE)
_PLAN_DIGEST = hashlib.sha256(b"{}").hexdigest()

_ORGANIZATION = "/api/v2/organizations/{organization}"
_WORKSPACE = "/api/v2/workspaces/{workspace_id}"
_RUN = "/api/v2/runs/{run_id}"
_LISTENER = "/api/v2/listeners/{listener_id}"
_PHASE = f"{_LISTENER}/phases/{{phase_id}}"

BODIES: Mapping[tuple[str, str], Body] = {
    ("POST", "/api/v2/users/{user_id}/authentication-tokens"): _TOKEN,
    ("POST", f"{_ORGANIZATION}/workspaces"): document("workspaces", {"name": "another"}),
    ("PATCH", f"{_ORGANIZATION}/workspaces/{{name}}"): _DESCRIBED,
    ("PATCH", _WORKSPACE): _DESCRIBED,
    ("POST", f"{_WORKSPACE}/actions/lock"): _plain({"reason": "for a test"}),
    ("POST", f"{_WORKSPACE}/actions/adopt-state"): _COMMENT,
    ("POST", f"{_WORKSPACE}/actions/clear-hold"): _COMMENT,
    ("POST", f"{_WORKSPACE}/relationships/tags"): _linkage("tags", name="blue"),
    ("DELETE", f"{_WORKSPACE}/relationships/tags"): _linkage("tags", name="blue"),
    ("POST", f"{_WORKSPACE}/relationships/remote-state-consumers"): _CONSUMERS,
    ("PATCH", f"{_WORKSPACE}/relationships/remote-state-consumers"): _CONSUMERS,
    ("DELETE", f"{_WORKSPACE}/relationships/remote-state-consumers"): _CONSUMERS,
    ("PATCH", f"{_WORKSPACE}/tag-bindings"): _linkage("tag-bindings", key="team", value="blue"),
    ("POST", f"{_WORKSPACE}/vars"): document(
        "vars", {"key": "another", "value": "x", "category": "env"}
    ),
    ("PATCH", f"{_WORKSPACE}/vars/{{variable_id}}"): document("vars", {"value": "another"}),
    ("POST", f"{_WORKSPACE}/configuration-versions"): document(
        "configuration-versions", {"auto-queue-runs": False}
    ),
    ("POST", f"{_WORKSPACE}/state-versions"): document(
        "state-versions",
        {
            "serial": 2,
            "md5": hashlib.md5(_STATE).hexdigest(),
            "lineage": factories.STATE["lineage"],
            "state": base64.b64encode(_STATE).decode(),
        },
    ),
    ("PUT", "/api/v2/configuration-uploads/{token}"): Body(factories.archive()),
    ("PUT", "/api/v2/state-upload/{token}"): _STATE_BYTES,
    ("PUT", "/api/v2/json-state-upload/{token}"): _STATE_BYTES,
    ("PUT", "/api/v2/state-versions/{version_id}/content"): _STATE_BYTES,
    ("PUT", "/api/v2/state-versions/{version_id}/json-content"): _STATE_BYTES,
    ("PUT", "/api/v2/admin/binary-cache/{tool}/{version}/{os}/{arch}"): Body(b"#!/bin/sh\n"),
    ("POST", "/api/v2/runs"): document(
        "runs", {"message": "for a test"}, workspace=("workspaces", "{workspace_id}")
    ),
    ("POST", f"{_RUN}/actions/apply"): _COMMENT,
    ("POST", f"{_RUN}/actions/confirm"): _COMMENT,
    ("POST", f"{_RUN}/actions/discard"): _COMMENT,
    ("POST", f"{_RUN}/actions/cancel"): _COMMENT,
    ("POST", f"{_RUN}/actions/force-cancel"): _COMMENT,
    ("POST", f"{_ORGANIZATION}/agent-pools"): document("agent-pools", {"name": "another"}),
    ("POST", "/api/v2/agent-pools/{pool_id}/authentication-tokens"): _TOKEN,
    ("POST", "/api/v2/agent-pools/join"): _JOIN,
    ("POST", "/api/v2/agent-pools/{pool_id}/listeners/join"): _JOIN,
    ("POST", f"{_LISTENER}/renew"): _plain({"csr": _CSR, "nonce": "none", "signature": ""}),
    ("POST", f"{_LISTENER}/heartbeat"): _plain(
        {"slots": 2, "holding": [{"phase_id": "{phase_id}", "fence": 1}]}
    ),
    ("PATCH", f"{_LISTENER}/runs/{{run_id}}"): _plain(
        {"status": "applied", "phase_id": "{phase_id}", "fence": 1}
    ),
    ("PUT", f"{_PHASE}/log"): Body(b"a line\n", "fence=1&offset=0"),
    ("PUT", f"{_PHASE}/state"): Body(_STATE, "fence=1&final=true"),
    ("PUT", f"{_PHASE}/recovered-state"): Body(_STATE, "fence=1"),
    ("PUT", f"{_PHASE}/late-log"): Body(b"a line\n", "fence=1&offset=0"),
    ("PUT", f"{_PHASE}/late-result"): _plain({"began": True}, "fence=1"),
    ("PUT", f"{_PHASE}/artifacts/{{name}}"): Body(b"{}", f"fence=1&digest={_PLAN_DIGEST}"),
}
