# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Space-filling curves: z-order (Morton) and Hilbert codes of integer voxel coordinates, as torch table look-ups.

A curve gives every voxel a place in a line so that near places are near in space; patches of attention are runs of it.
The conventions are those of PTv3 and LitePT: x is the most significant axis, and the "-trans" orders exchange x and y.
"""

from functools import cache

import torch
from torch import Tensor

from srkd_ros import gpu

MAX_DEPTH = 16
"""Bits per axis of a code; 16 bits at 0.05 m reach 3.2 km."""

_LEVELS_A_STEP = 3  # octree levels that one look-up of the Hilbert automaton consumes


def z_order(grid: Tensor) -> Tensor:
    """Morton codes int64 [V] of coordinates int64 [V, 3] in 0..2**16 - 1: the bits x y z of each level interleaved."""
    spread = _spread_table(grid.device)
    x, y, z = (spread.index_select(0, grid[:, axis]) for axis in range(3))
    return (x << 2) | (y << 1) | z


def hilbert(grid: Tensor, depth: int) -> Tensor:
    """Hilbert codes int64 [V] of coordinates int64 [V, 3] below 2**depth (Skilling, AIP Conf. Proc. 707, 2004).

    The codes depend on `depth`: each leading zero level turns the curve. Skilling's bit operations are a finite
    automaton over octants, read from the coarsest level down; its tables are made once, and a look-up consumes three
    levels.
    """
    first, tables, steps = _automaton(depth, grid.device)
    morton = z_order(grid)
    bits = 3 * _LEVELS_A_STEP
    state = torch.full_like(morton, first)
    code = torch.zeros_like(morton)
    for step in reversed(range(steps)):
        entry = tables.index_select(0, (state << bits) | ((morton >> (bits * step)) & ((1 << bits) - 1)))
        code = (code << bits) | (entry & ((1 << bits) - 1))
        state = entry >> bits
    return code & ((1 << (3 * depth)) - 1)


def encode(grid: Tensor, order: str, depth: int) -> Tensor:
    """Codes int64 [V] along one of the orders "z", "z-trans", "hilbert", "hilbert-trans"."""
    exchanged, turning = order.endswith("-trans"), order.startswith("hilbert")
    if (kernels := gpu.taken_for(grid.device)) is not None:
        if not turning:
            return kernels.geometry.curve_codes(grid, None, 0, 0, depth, exchanged)
        state, tables, steps = _automaton(depth, grid.device)
        return kernels.geometry.curve_codes(grid, tables, state, steps, depth, exchanged)
    if exchanged:
        grid = grid[:, [1, 0, 2]]
    return hilbert(grid, depth) if turning else z_order(grid)


@cache
def _spread_table(device: torch.device) -> Tensor:
    values = torch.arange(1 << MAX_DEPTH)
    spread = torch.zeros_like(values)
    for bit in range(MAX_DEPTH):
        spread |= ((values >> bit) & 1) << (3 * bit)
    return spread.to(device)


# A state of the automaton is (permutation, flips, parity): bit i of the turned octant is bit permutation[i] of the
# octant, inverted where flips[i] is set; parity is the last binary digit written, which the Gray decoding carries on.
_State = tuple[tuple[int, int, int], tuple[int, int, int], int]


def _advance(state: _State, octant: int) -> tuple[_State, int]:
    """One level: the next state and the three digits of the code."""
    permutation, flips, parity = state
    turned = [((octant >> (2 - permutation[i])) & 1) ^ flips[i] for i in range(3)]
    new_permutation, new_flips = list(permutation), list(flips)
    for axis in range(3):
        if turned[axis]:
            new_flips[0] ^= 1
        else:
            for listing in (new_permutation, new_flips):
                listing[0], listing[axis] = listing[axis], listing[0]
    digits = 0
    for bit in turned:
        parity ^= bit
        digits = (digits << 1) | parity
    return (
        (new_permutation[0], new_permutation[1], new_permutation[2]),
        (new_flips[0], new_flips[1], new_flips[2]),
        parity,
    ), digits


def _automaton(depth: int, device: torch.device) -> tuple[int, Tensor, int]:
    """Start state, table and number of look-ups for codes of `depth` bits an axis."""
    start, tables = _hilbert_tables(device)
    steps = -(-depth // _LEVELS_A_STEP)
    return start[steps * _LEVELS_A_STEP - depth], tables, steps


@cache
def _hilbert_tables(device: torch.device) -> tuple[tuple[int, ...], Tensor]:
    """Start states by number of padding levels, and the table [states * 512] of next state << 9 | digits."""
    initial: _State = ((0, 1, 2), (0, 0, 0), 0)
    states = [initial]
    for state in states:  # grows while it is walked
        for octant in range(8):
            following, _ = _advance(state, octant)
            if following not in states:
                states.append(following)
    number = {state: i for i, state in enumerate(states)}

    # Padding levels are octant 0: start where reading it leads to the initial state; the digits are masked away.
    start = [initial]
    for _ in range(_LEVELS_A_STEP - 1):
        start.append(next(s for s in states if _advance(s, 0)[0] == start[-1]))

    table = torch.empty(len(states) << (3 * _LEVELS_A_STEP), dtype=torch.int64)
    for state in states:
        for octants in range(1 << (3 * _LEVELS_A_STEP)):
            current, digits = state, 0
            for level in reversed(range(_LEVELS_A_STEP)):
                current, three = _advance(current, (octants >> (3 * level)) & 7)
                digits = (digits << 3) | three
            entry = (number[current] << (3 * _LEVELS_A_STEP)) | digits
            table[(number[state] << (3 * _LEVELS_A_STEP)) | octants] = entry
    return tuple(number[s] for s in start), table.to(device)
