"""How long it takes from a kill to the right end of the run, with the default leases.

``python -m tests.chaos.times [--victim agent] [--step main]``
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.blows import STEPS, WITH_TERRAFORM, at_step, strike
from tests.chaos.history import FINAL
from tests.chaos.world import Place, World, moment
from tests.kit.proxy import Weather

_SERVER = {
    "TERRAPOD_RUNS__PLAN_LEASE_SECONDS": "30",
    "TERRAPOD_RUNS__APPLY_LEASE_SECONDS": "120",
    "TERRAPOD_RUNS__SWEEP_SECONDS": "2",
    "TERRAPOD_RUNS__GRACE_SECONDS": "30",
    "TERRAPOD_RUNS__STATE_EVERY_SECONDS": "10",
    "TERRAPOD_AGENTS__BEAT_IDLE_SECONDS": "30",
    "TERRAPOD_AGENTS__BEAT_BUSY_SECONDS": "10",
    "TERRAPOD_AGENTS__OFFLINE_AFTER_SECONDS": "90",
}
_AGENT = {
    "TERRAPOD_AGENT_WAITS__POLL": "25",
    "TERRAPOD_AGENT_WAITS__RETRY_FIRST": "0.5",
    "TERRAPOD_AGENT_WAITS__RETRY_LONGEST": "30",
    "TERRAPOD_AGENT_WAITS__LOG": "0.2",
    "TERRAPOD_AGENT_WAITS__STATE": "1",
    "TERRAPOD_AGENT_WAITS__FLUSH": "60",
    "TERRAPOD_AGENT_WAITS__STOP": "5",
}
GONE = "agent gone"  # for good; another agent of its pool is there
VICTIMS = ("agent", GONE, "shim", "terraform", "server", "database")
_TRIES = 5
_LONGEST = 300.0


def main(arguments: Sequence[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--victim", choices=VICTIMS)
    parser.add_argument("--step", help="only this step of a phase")
    options = parser.parse_args(arguments)
    victims = [options.victim] if options.victim else VICTIMS
    with tempfile.TemporaryDirectory(prefix="terrapod-times-") as folder:
        world = World(Path(folder), _SERVER)
        try:
            world.open()
            _print(Times(world).table(victims, options.step))
        finally:
            world.close()


class Times:
    """The measuring, in one pool with an agent and another in reserve."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._pool = world.pool("times")
        self._reserve = self._agent("reserve")
        self._reserve.agent.kill()
        self._place = self._agent("first")
        # So that terraform is there; and it takes as long as it takes.
        world.settle([world.run(world.workspace(self._pool), ["first"])])

    def table(self, victims: Sequence[str], only: str | None) -> dict[str, dict[str, str]]:
        """Step -> victim -> what was measured."""
        found: dict[str, dict[str, str]] = {}
        for kind, steps in STEPS.items():
            for step in steps:
                if only in (None, step):
                    for victim in victims:
                        row = found.setdefault(f"{kind}, {step}", {})
                        row[victim] = self._cell(victim, kind, step)
        return found

    def _cell(self, victim: str, kind: str, step: str) -> str:
        if victim in ("shim", "terraform") and step not in WITH_TERRAFORM:
            return ""
        world = self._world
        for _ in range(_TRIES):
            workspace = world.workspace(self._pool)
            run = world.run(workspace, ["a", "b"], lines=30)
            if self._at(run, kind, step):
                return self._struck(victim, workspace, run, f"{kind}, {step}")
            world.settle([run])  # it was over before it was seen
        return "not seen"

    def _at(self, run: str, kind: str, step: str) -> bool:
        over = lambda: self._world.look(run)["status"] in FINAL  # noqa: E731 - a condition
        self._place.network.weather(Weather(delay=0.05))
        try:
            return at_step(self._place, run, kind, step, over)
        finally:
            self._place.network.heal()

    def _struck(self, victim: str, workspace: str, run: str, at: str) -> str:
        world = self._world
        began = time.time()
        if victim == GONE:
            world.blow(victim, lasts=_LONGEST)
            self._place.agent.kill()
            self._place, self._reserve = self._reserve, self._place
            self._place.agent.start()
        else:
            strike(world, self._place, victim)
        told = self._end(workspace, run, began)
        _say(f"{at}, {victim}: {told}")
        world.settle([run])
        return told

    def _end(self, workspace: str, run: str, began: float) -> str:
        while time.time() < began + _LONGEST:
            said = self._world.look(run)
            if said["status"] in FINAL:
                ended = moment(said["status-timestamps"][f"{said['status']}-at"])
                at = f"workspaces/{self._world.workspaces[workspace]}"
                held = self._world.api("GET", at)["attributes"]["hold"]
                return f"{ended - began:.1f} s, {said['status']}{', hold' if held else ''}"
            time.sleep(0.2)
        return f"not within {_LONGEST:.0f} s: {said['status']}"

    def _agent(self, name: str) -> Place:
        return self._world.agent(name, self._pool, settings=_AGENT)


def _print(found: dict[str, dict[str, str]]) -> None:
    victims = list(next(iter(found.values())))
    print(f"| killed at | {' | '.join(victims)} |")
    print(f"| --- |{' --- |' * len(victims)}")
    for step, row in found.items():
        print(f"| {step} | {' | '.join(row[victim] for victim in victims)} |")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
