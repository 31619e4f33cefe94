"""Settings: defaults, file, environment; every mistake told at once; secrets never."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from msgspec import Struct

from terrapod_common.settings import BadSettings, Secret, describe, load, names
from terrapod_control_plane import settings as server


class Inner(Struct, frozen=True, kw_only=True):
    port: int = 1
    key: Secret = Secret("")
    names: list[str] = []
    folder: Path | None = None


class Outer(Struct, frozen=True, kw_only=True):
    name: str = "default"
    fast: bool = False
    inner: Inner = Inner()


def read(environment: Mapping[str, str], file: Path | None = None) -> Outer:
    return load(Outer, prefix="X_", environment=environment, file=file, ignore=("X_OTHER_",))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "settings.toml"
    path.write_text('name = "file"\n[inner]\nport = 2\nnames = ["a", "b"]\n')
    return path


def test_the_defaults_the_file_and_the_environment_in_this_order(file: Path) -> None:
    assert read({}) == Outer()
    assert read({}, file) == Outer(name="file", inner=Inner(port=2, names=["a", "b"]))
    both = read({"X_INNER__PORT": "3", "X_INNER__NAMES": "c, d,", "X_FAST": "true"}, file)
    assert both == Outer(name="file", fast=True, inner=Inner(port=3, names=["c", "d"]))


def test_other_peoples_names_are_left_alone() -> None:
    assert read({"X_OTHER_THING": "1", "PATH": "/bin", "Y_NAME": "no"}) == Outer()


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text('nam = "x"\n[inner]\nprt = 2\nport = "many"\n')
    environment = {"X_FAST": "perhaps", "X_INNER": "3", "X_NAME__PORT": "1", "X_NOTHING": ""}
    with pytest.raises(BadSettings) as caught:
        read(environment, bad)
    told = "\n".join(caught.value.mistakes)
    for part in ("`nam`", "`prt`", "inner.port", "fast", "X_INNER", "X_NAME__PORT", "X_NOTHING"):
        assert part in told
    assert str(caught.value) == told


def test_a_file_that_cannot_be_read_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="No such file"):
        read({}, tmp_path / "missing.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("name = \n")
    with pytest.raises(BadSettings, match=r"broken\.toml"):
        read({}, broken)


@pytest.mark.parametrize("text", ["inner = 3", "inner = [1]", "name = 3", "name = [1]"])
def test_a_value_of_the_wrong_shape_is_a_mistake(tmp_path: Path, text: str) -> None:
    file = tmp_path / "shape.toml"
    file.write_text(text)
    with pytest.raises(BadSettings):
        read({}, file)


@pytest.mark.parametrize("text", ["inner = 3", "inner = [1]"])
def test_a_file_that_has_no_table_where_the_environment_needs_one(
    tmp_path: Path, text: str
) -> None:
    file = tmp_path / "shape.toml"
    file.write_text(text)
    with pytest.raises(BadSettings):
        read({"X_INNER__PORT": "3"}, file)


def test_a_secret_never_prints() -> None:
    settings = read({"X_INNER__KEY": "hunter2"})
    key = settings.inner.key
    assert key.reveal() == "hunter2"
    shown = [repr(settings), str(settings), f"{key}", f"{key!r}", f"{key:>9}", "%s" % key]  # noqa: UP031
    shown += [f"{name}={value}" for name, value in describe(settings, "X_")]
    assert "hunter2" not in "".join(shown)


def test_what_is_described_is_what_names_says() -> None:
    assert [name for name, _ in describe(Outer(), "X_")] == [name for name, _ in names(Outer, "X_")]
    assert ("X_INNER__PORT", 1) in list(names(Outer, "X_"))


def test_the_server_takes_its_own_defaults_back() -> None:
    defaults = dict(describe(server.Settings(), server.PREFIX))
    given = {n: v for n, v in defaults.items() if v not in ("None", "Secret(***)")}
    del given["TERRAPOD_DATA_DIR"]  # its default is made absolute by whoever starts the server
    assert server.load(given) == server.load({})


def test_the_server_ignores_what_belongs_to_agent_and_cli() -> None:
    environment = {"TERRAPOD_AGENT_URL": "x", "TERRAPOD_URL": "x", "TERRAPOD_TOKEN": "x"}
    assert server.load(environment) == server.load({})
    with pytest.raises(BadSettings, match="TERRAPOD_SEVER__PORT"):
        server.load({"TERRAPOD_SEVER__PORT": "1"})


@pytest.mark.parametrize("value", ["-1", "nan", "inf"])
def test_no_number_makes_something_last_for_ever_or_never_begin(value: str) -> None:
    known = names(server.Settings, server.PREFIX)
    numbers = [name for name, default in known if type(default) in (int, float)]
    assert len(numbers) > 30
    for name in numbers:
        with pytest.raises(BadSettings):
            server.load({name: value})


def test_a_lease_that_no_beat_could_renew_is_a_mistake() -> None:
    with pytest.raises(BadSettings, match=r"runs\.plan_lease_seconds is 10: has to be"):
        server.load({"TERRAPOD_RUNS__PLAN_LEASE_SECONDS": "10"})


@pytest.mark.parametrize(
    ("given", "hosts"),
    [
        ({}, ["localhost:8443"]),
        ({"PUBLIC_URL": "https://terrapod.example.com/"}, ["terrapod.example.com"]),
        ({"NAMES": "b.internal"}, ["localhost:8443", "b.internal:8443"]),
        ({"PUBLIC_URL": "https://Terrapod.example.com:443"}, ["terrapod.example.com"]),
        (
            {"PUBLIC_URL": "https://a.example.com:9443", "PORT": "443", "NAMES": "b.internal,::1"},
            ["a.example.com:9443", "b.internal:9443", "b.internal", "[::1]:9443", "[::1]"],
        ),
    ],
)
def test_the_names_by_which_users_know_the_server(given: dict[str, str], hosts: list[str]) -> None:
    settings = server.load({f"TERRAPOD_SERVER__{name}": value for name, value in given.items()})
    assert list(settings.hosts()) == hosts


@pytest.mark.parametrize(
    "url",
    [
        "terrapod.example.com",
        "https://",
        "https://a:b",
        "https://a:99999",
        "https://[::1",
        "ftp://a",
    ],
)
def test_the_public_address_is_one(url: str) -> None:
    with pytest.raises(BadSettings, match=r"server\.public_url"):
        server.load({"TERRAPOD_SERVER__PUBLIC_URL": url})
