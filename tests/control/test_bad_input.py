"""Input that is broken, hostile or of another kind is refused and changes nothing."""

import io
import tarfile
from typing import Any

import pytest

from tests.kit import factories
from tests.kit.control import Agent, Client, Control, problems

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("body", "status", "pointer"),
    [
        (b"", 400, None),
        (b"{", 400, None),
        (b"[]", 400, None),
        (b'{"data": null}', 400, None),
        (b'{"data": {"type": "runs"}}', 422, "/data/relationships/workspace"),
        (b'{"data": {"type": "plans"}}', 422, "/data/type"),
        (b'{"data": {"attributes": {"refresh": 3}}}', 422, "/data/attributes/refresh"),
    ],
)
async def test_a_bad_body_is_told_where_it_is_bad(
    api: Client, workspace: str, body: bytes, status: int, pointer: str | None
) -> None:
    answer = await api.call("POST", "/api/v2/runs", content=body)
    assert answer.status_code == status, answer.text
    if pointer is not None:
        assert problems(answer)[0]["source"] == {"pointer": pointer}


@pytest.mark.parametrize(
    "given",
    [
        {"message": "a\0b"},
        {"terraform-version": "\0"},
        {"target-addrs": ["\0"]},
        {"variables": [{"key": "\0", "value": "\U0001f600"}]},
        {"message": "x" * 100_000},
    ],
)
async def test_odd_text_is_stored_or_refused(
    api: Client, workspace: str, given: dict[str, Any]
) -> None:
    body = {"data": factories.new_run(workspace, **given)}
    assert (await api.call("POST", "/api/v2/runs", json=body)).status_code in (201, 422)


@pytest.mark.parametrize("id_", ["ws-1111111111111111", "nonsense", "run-1111111111111111"])
async def test_a_workspace_that_is_none_is_not_found(api: Client, id_: str) -> None:
    body = {"data": factories.new_run(id_)}
    answer = await api.call("POST", "/api/v2/runs", json=body)
    assert answer.status_code in (403, 404), answer.text


async def test_an_id_of_another_kind_is_no_workspace(
    api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    body = {"data": factories.new_run(run)}
    assert (await api.call("POST", "/api/v2/runs", json=body)).status_code in (404, 422)


async def test_a_run_needs_a_configuration(api: Client) -> None:
    bare = await factories.workspace(api, "bare")
    answer = await api.call("POST", "/api/v2/runs", json={"data": factories.new_run(bare)})
    assert answer.status_code == 422
    waiting, _ = await factories.upload_url(api, bare)
    body = {"data": factories.new_run(bare, waiting)}
    assert (await api.call("POST", "/api/v2/runs", json=body)).status_code == 422


def hostile(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, link
        tar.addfile(member, io.BytesIO())
    return packed.getvalue()


@pytest.mark.parametrize(
    "archive",
    [
        b"",
        b"not an archive",
        hostile("../outside"),
        hostile("/etc/passwd"),
        hostile("link", tarfile.SYMTYPE, "/etc/passwd"),
        hostile("pipe", tarfile.FIFOTYPE),
        factories.archive()[:-20],
    ],
    ids=["empty", "text", "up", "absolute", "link", "pipe", "cut"],
)
async def test_a_hostile_archive_is_refused_and_errored(
    api: Client, workspace: str, archive: bytes
) -> None:
    id_, url = await factories.upload_url(api, workspace)
    assert (await api.call("PUT", url, content=archive)).status_code == 422
    shown = await api.get(f"/api/v2/configuration-versions/{id_}")
    assert shown["data"]["attributes"]["status"] == "errored"


async def test_a_report_on_nonsense_is_refused(
    control: Control, api: Client, listener: Agent, workspace: str
) -> None:
    run = await factories.run(api, workspace)
    work = await listener.claim("k")
    assert work is not None
    for wrong in ("nonsense", "ws-1111111111111111", work["phase_id"], "run-1111111111111111"):
        answer = await listener.report(work | {"run_id": wrong}, "planning")
        assert answer.status_code == 404, answer.text
    assert (await listener.report(work, "applied")).status_code == 409
    assert (await listener.report(work, "planned")).status_code == 409
    assert (await listener.report(work, "applying")).status_code == 409
    path = f"{listener.at}/runs/{run}"
    assert (await listener.call("PATCH", path, content=b"{")).status_code == 400
    assert (await listener.call("PATCH", path, json={"status": "odd"})).status_code == 422
    assert await control.status(run) == "plan_queued"


async def test_an_artifact_with_another_digest_is_refused(
    api: Client, listener: Agent, workspace: str
) -> None:
    await factories.run(api, workspace)
    work = await factories.starts_plan(listener)
    sent = await listener.send(work, "artifacts/plan", b"x", f"digest={'0' * 64}")
    assert sent.status_code == 422
    assert (await listener.send(work, "artifacts/other", b"x", "digest=0")).status_code == 404
    assert (await listener.report(work, "planned", has_changes=True)).status_code == 409
