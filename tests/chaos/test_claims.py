"""Simulated claims against the real service and PostgreSQL: who may do what to which phase."""

import random

import pytest

from tests.chaos.claims import Simulation
from tests.chaos.conftest import Tell
from tests.kit.control import Control

pytestmark = pytest.mark.anyio


@pytest.mark.short
@pytest.mark.timeout(240)
async def test_some_claims(control: Control) -> None:
    await Simulation(control, random.Random(1)).run(claims=600)


@pytest.mark.timeout(7200)
async def test_many_claims(control: Control, request: pytest.FixtureRequest, tell: Tell) -> None:
    seed = request.config.getoption("--seed")
    seed = random.randrange(2**32) if seed is None else seed
    tell(f"seed {seed}")
    simulation = Simulation(control, random.Random(seed))
    await simulation.run(claims=request.config.getoption("--claims"))
    ledger = simulation.ledger
    tell(f"{ledger.handed_out} claims, {len(ledger.runs)} runs, {len(ledger.held)} holds")
