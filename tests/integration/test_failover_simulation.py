"""Invariants 1, 3, 4, 5 and 7 over two databases: random histories with everything that can go wrong in them.

Steps inside operations interleave, since every call to a database takes some virtual time before and after it.
"""

import os

import pytest

from tests.support.simulation import Simulation

HISTORIES = 20_000 if os.environ.get("GRISTMILL_TEST_SOAK") else 500
BLOCK = 25


@pytest.mark.parametrize("first", range(0, HISTORIES, BLOCK))
def test_whatever_happens_nothing_acknowledged_is_lost_and_both_end_up_the_same(first: int):
    for seed in range(first, first + BLOCK):
        simulation = Simulation(seed)
        try:
            simulation.run()
        except AssertionError as error:
            raise AssertionError(f"history {seed}: {'; '.join(simulation.faults)}") from error
