# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Things that move or could: vehicles, two-wheelers and people, x forward, standing on z = 0, centred at the origin."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from srkd_train.simulation.mesh import GLASS, RETRO, Mesh, box, hexahedron, join, tube

MOVING = {10: 252, 18: 258, 13: 257, 20: 259, 30: 254, 31: 253, 32: 255}
"""SemanticKITTI's raw id of a class when it moves."""


def _paint(rng: np.random.Generator) -> float:
    return float(rng.choice([0.06, 0.12, 0.3, 0.45, 0.6]) * rng.uniform(0.8, 1.2))


def _wheels(xs: tuple[float, ...], half_width: float, radius: float, raw_id: int) -> list[Mesh]:
    parts = []
    for x in xs:
        for side in (-1.0, 1.0):
            outer, inner = side * half_width, side * (half_width - 0.22)
            parts.append(tube((x, inner, radius), (x, outer, radius), radius, raw_id, 0.05, sides=10))
            parts.append(tube((x, outer, radius), (x, outer + side * 0.01, radius), radius * 0.6, raw_id, 0.4, sides=8))
    return parts


def car(rng: np.random.Generator) -> Mesh:
    """A hatchback, saloon, estate, or van: body, sloped cabin of glass with its roof, wheels, plates, mirrors."""
    style = rng.choice(["hatch", "saloon", "estate", "suv", "van"], p=[0.28, 0.24, 0.2, 0.18, 0.1])
    length = {"hatch": 4.0, "saloon": 4.6, "estate": 4.7, "suv": 4.5, "van": 5.0}[style] * rng.uniform(0.95, 1.05)
    width = {"suv": 1.86, "van": 1.92}.get(style, 1.76) * rng.uniform(0.97, 1.03)
    height = {"suv": 1.68, "van": 1.95, "saloon": 1.43}.get(style, 1.48) * rng.uniform(0.97, 1.03)
    belt = 0.62 * height if style != "van" else 0.56 * height
    x0, x1, y = -length / 2, length / 2, width / 2
    paint, radius, clearance = _paint(rng), 0.32 if style != "suv" else 0.36, 0.2
    # Where the glass starts and ends at the belt line and at the roof, as shares of the length from the rear.
    belt_span, roof_span = {
        "hatch": ((0.03, 0.74), (0.12, 0.56)),
        "saloon": ((0.14, 0.72), (0.26, 0.55)),
        "estate": ((0.02, 0.72), (0.07, 0.55)),
        "suv": ((0.02, 0.74), (0.08, 0.58)),
        "van": ((0.01, 0.84), (0.03, 0.68)),
    }[style]
    cabin = tuple(x0 + s * length for s in belt_span)
    roof = tuple(x0 + s * length for s in roof_span)
    inset = 0.16 if style != "van" else 0.08
    nose = 0.9 * belt
    parts = [
        # Lower body, cut away a little at the ends, then shoulders up to the belt line, bonnet lower than the tail.
        hexahedron(
            (x0 + 0.1, x1 - 0.12), (-y + 0.05, y - 0.05), clearance, 0.45, 10, paint, x_top=(x0, x1), y_top=(-y, y)
        ),
        hexahedron((x0, x1), (-y, y), 0.45, nose, 10, paint, x_top=(x0 + 0.05, x1 - 0.2), y_top=(-y + 0.05, y - 0.05)),
        hexahedron(
            (x0 + 0.05, cabin[1] + 0.3),
            (-y + 0.05, y - 0.05),
            nose,
            belt,
            10,
            paint,
            x_top=(x0 + 0.08, cabin[1]),
            y_top=(-y + 0.07, y - 0.07),
        ),
        hexahedron(
            (cabin[0], cabin[1]),
            (-y + 0.07, y - 0.07),
            belt,
            height - 0.06,
            10,
            0.08,
            GLASS if style != "van" else 0,
            x_top=(roof[0], roof[1]),
            y_top=(-y + inset + 0.02, y - inset - 0.02),
        ),
        hexahedron(
            (roof[0] - 0.03, roof[1] + 0.03),
            (-y + inset, y - inset),
            height - 0.06,
            height,
            10,
            paint,
            x_top=(roof[0] + 0.1, roof[1] - 0.1),
            y_top=(-y + inset + 0.08, y - inset - 0.08),
        ),
        box((x0 - 0.02, -0.26, 0.55), (x0 - 0.005, 0.26, 0.67), 10, 0.9, RETRO),
        box((x1 + 0.005, -0.26, 0.4), (x1 + 0.02, 0.26, 0.52), 10, 0.9, RETRO),
    ]
    for side in (-1.0, 1.0):
        # Door pillars: thin painted strips that return where the glass does not.
        for share in (0.0, 0.5, 0.97):
            bottom = cabin[0] + share * (cabin[1] - cabin[0])
            top = roof[0] + share * (roof[1] - roof[0])
            a, b = (bottom, side * (y - 0.07), belt), (top, side * (y - inset - 0.01), height - 0.04)
            parts.append(tube(a, b, 0.045, 10, paint, sides=4))
        mirror = cabin[1] - 0.35
        low, high = sorted((side * (y - 0.02), side * (y + 0.16)))
        parts.append(box((mirror, low, belt), (mirror + 0.12, high, belt + 0.14), 10, paint))
        for x in (x0 - 0.004, x1 - 0.06):
            low, high = sorted((side * (y - 0.4), side * (y - 0.08)))
            parts.append(box((x, low, 0.62), (x + 0.06, high, 0.76), 10, 0.5))
    parts += _wheels((x0 + 0.19 * length, x1 - 0.19 * length), y - 0.01, radius, 10)
    return join(parts)


def truck(rng: np.random.Generator) -> Mesh:
    """A lorry: cab with windscreen, gap, box or flat bed, three axles or two."""
    length, width, height = rng.uniform(6.5, 10.0), 2.45, rng.uniform(3.0, 3.7)
    x0, x1, y = -length / 2, length / 2, width / 2
    paint, cargo = _paint(rng), float(rng.uniform(0.3, 0.7))
    cab = x1 - 2.0
    parts = [
        box((cab, -y, 0.5), (x1, y, 1.65), 18, paint),
        hexahedron((cab, x1), (-y, y), 1.65, 2.45, 18, 0.08, GLASS, x_top=(cab, x1 - 0.2)),
        box((cab, -y, 1.65), (cab + 0.8, y, 2.5), 18, paint),
        box((cab, -y, 2.45), (x1 - 0.2, y, 2.75), 18, paint),
        box((x0, -0.5, 0.6), (cab, 0.5, 0.95), 18, 0.2),
        box((x0, -0.26, 0.75), (x0 - 0.02, 0.26, 0.87), 18, 0.9, RETRO),
    ]
    if rng.random() < 0.75:
        parts.append(box((x0, -y - 0.05, 0.95), (cab - 0.35, y + 0.05, height), 18, cargo))
    else:
        parts.append(box((x0, -y, 0.95), (cab - 0.3, y, 1.15), 18, cargo))
        parts.append(box((x0 + 0.5, -y + 0.3, 1.15), (cab - 1.2, y - 0.2, rng.uniform(1.6, 2.4)), 18, cargo * 0.6))
        parts += [box((x0, s * y - 0.03, 1.15), (cab - 0.3, s * y + 0.03, 1.6), 18, cargo) for s in (-1, 1)]
    axles = (x0 + 0.9, x0 + 2.1, x1 - 1.1) if length > 8 else (x0 + 1.3, x1 - 1.1)
    return join(parts + _wheels(axles, y, 0.48, 18))


def bus(rng: np.random.Generator) -> Mesh:
    """A city bus, 10 to 12.5 m: a band of windows with posts between painted panels."""
    length, y, height = rng.uniform(10, 12.5), 1.27, 3.05
    x0, x1, paint = -length / 2, length / 2, _paint(rng)
    parts = [
        box((x0, -y, 0.3), (x1, y, 1.2), 13, paint),
        box((x0 + 0.02, -y + 0.03, 1.2), (x1 - 0.02, y - 0.03, 2.45), 13, 0.08, GLASS),
        box((x0, -y, 2.45), (x1, y, height), 13, paint),
        box((x0 + 2, -0.8, height), (x0 + 5, 0.8, height + 0.25), 13, paint),
    ]
    for x in np.arange(x0, x1 - 0.3, 1.35):
        parts += [box((x, s * y - 0.04, 1.2), (x + 0.14, s * y + 0.04, 2.45), 13, paint) for s in (-1, 1)]
    return join(parts + _wheels((x0 + 3.0, x1 - 2.6), y + 0.01, 0.48, 13))


def trailer(rng: np.random.Generator) -> Mesh:
    """A caravan, box trailer or tractor: SemanticKITTI's other-vehicle."""
    paint = _paint(rng)
    if rng.random() < 0.55:
        length, y, height = rng.uniform(3.2, 5.5), 1.1, rng.uniform(2.0, 2.6)
        body = hexahedron(
            (-length / 2, length / 2), (-y, y), 0.45, height, 20, paint, x_top=(-length / 2 + 0.2, length / 2 - 0.5)
        )
        window = box((-0.5, -y - 0.01, 1.3), (0.6, y + 0.01, 1.8), 20, 0.08, GLASS)
        bar = tube((length / 2, 0, 0.5), (length / 2 + 1.2, 0, 0.45), 0.06, 20, 0.2)
        return join([body, window, bar, *_wheels((-0.3,), y, 0.32, 20)])
    parts = [box((-1.6, -0.9, 0.9), (0.1, 0.9, 1.3), 20, paint), box((0.1, -0.4, 0.8), (1.9, 0.4, 1.5), 20, paint)]
    parts += [tube((x, s * 0.8, 1.3), (x, s * 0.75, 2.5), 0.05, 20, 0.3) for x in (-1.4, 0.0) for s in (-1, 1)]
    parts.append(box((-1.6, -0.9, 2.5), (0.2, 0.9, 2.6), 20, paint))
    return join(parts + _wheels((-1.0,), 1.05, 0.75, 20) + _wheels((1.4,), 0.85, 0.45, 20))


def person(rng: np.random.Generator, phase: float | None = None, raw_id: int = 30) -> Mesh:
    """A standing or walking person of 1.1 to 1.95 m: legs, torso, arms, head, now and then a bag."""
    height = float(np.clip(rng.normal(1.70, 0.12), 1.1, 1.95))
    swing = 0.28 * np.sin(rng.uniform(0, 6.28) if phase is None else phase)
    coat, trousers = rng.uniform(0.1, 0.7, 2)
    hip, shoulder = 0.5 * height, 0.82 * height
    parts = [
        hexahedron(
            (-0.11, 0.11), (-0.17, 0.17), hip - 0.05, shoulder, raw_id, coat, x_top=(-0.12, 0.12), y_top=(-0.22, 0.22)
        ),
        tube((0, 0, shoulder), (0, 0, shoulder + 0.09), 0.06, raw_id, 0.4, sides=6),
        tube((0, 0, shoulder + 0.06), (0, 0, height), 0.1, raw_id, 0.35, end_radius=0.07),
    ]
    for side in (-1.0, 1.0):
        leg = side * swing
        parts.append(tube((leg, side * 0.09, 0.0), (0, side * 0.09, hip), 0.06, raw_id, trousers, 0.09, 6))
        hand = (-leg * 0.8, side * 0.3, hip - 0.02)
        parts.append(tube(hand, (0, side * 0.25, shoulder - 0.03), 0.045, raw_id, coat, 0.06, 6))
    if rng.random() < 0.3:
        parts.append(box((-0.3, -0.15, hip + 0.1), (-0.1, 0.15, shoulder - 0.05), raw_id, rng.uniform(0.1, 0.5)))
    return join(parts)


def _wheel(x: float, radius: float, raw_id: int) -> Mesh:
    """A thin wheel with spokes: a ring of tubes, so that most rays pass."""
    angle = np.linspace(0, 2 * np.pi, 11)
    rim = np.stack([x + radius * np.cos(angle), np.zeros(11), radius + radius * np.sin(angle)], 1)
    parts = [tube(a, b, 0.025, raw_id, 0.08, sides=4) for a, b in pairwise(rim)]
    parts += [tube((x, 0, radius), p, 0.006, raw_id, 0.4, sides=3) for p in rim[:-1:2]]
    return join(parts)


def bicycle(rng: np.random.Generator, raw_id: int = 11) -> Mesh:
    """Two spoked wheels, a diamond frame, handlebar, saddle."""
    paint = _paint(rng)
    bottom, seat, head = (-0.08, 0.0, 0.3), (-0.22, 0.0, 0.85), (0.36, 0.0, 0.82)
    lines = [(bottom, seat), (bottom, head), (seat, head), (bottom, (-0.52, 0.0, 0.34)), (seat, (-0.52, 0.0, 0.34))]
    lines += [(head, (0.52, 0.0, 0.34)), (head, (0.34, 0.0, 1.02)), ((0.32, -0.29, 1.03), (0.32, 0.29, 1.03))]
    parts = [tube(a, b, 0.022, raw_id, paint, sides=5) for a, b in lines]
    parts.append(box((-0.36, -0.08, 0.88), (-0.1, 0.08, 0.95), raw_id, 0.1))
    return join([*parts, _wheel(-0.52, 0.34, raw_id), _wheel(0.52, 0.34, raw_id)])


def motorcycle(rng: np.random.Generator, raw_id: int = 15) -> Mesh:
    """Fat wheels, engine, tank, seat, fork, handlebar; or a scooter with a front shield."""
    paint = _paint(rng)
    parts = [tube((x, -0.06, 0.31), (x, 0.06, 0.31), 0.31, raw_id, 0.06, sides=12) for x in (-0.68, 0.68)]
    parts += [
        box((-0.3, -0.17, 0.25), (0.3, 0.17, 0.6), raw_id, 0.3),
        hexahedron((-0.1, 0.42), (-0.16, 0.16), 0.6, 0.88, raw_id, paint, x_top=(0.0, 0.32), y_top=(-0.1, 0.1)),
        box((-0.85, -0.13, 0.62), (-0.1, 0.13, 0.76), raw_id, 0.1),
        tube((0.68, 0, 0.31), (0.42, 0, 1.0), 0.05, raw_id, 0.35),
        tube((0.38, -0.36, 1.04), (0.38, 0.36, 1.04), 0.025, raw_id, 0.2, sides=5),
    ]
    if rng.random() < 0.5:
        parts.append(hexahedron((0.42, 0.5), (-0.22, 0.22), 0.35, 1.15, raw_id, paint, x_top=(0.3, 0.36)))
    return join(parts)


def rider(rng: np.random.Generator, raw_id: int, saddle: float) -> Mesh:
    """A seated person leaning to the handlebar."""
    coat, trousers = rng.uniform(0.1, 0.7, 2)
    hip, neck = (-0.2, 0, saddle), (0.05, 0, saddle + 0.55)
    parts = [
        tube(hip, neck, 0.17, raw_id, coat, 0.19),
        tube((0.07, 0, saddle + 0.58), (0.09, 0, saddle + 0.85), 0.1, raw_id, 0.35, 0.08),
    ]
    for side in (-1.0, 1.0):
        knee = (0.18, side * 0.13, saddle - 0.15 + 0.12 * side)
        parts.append(tube((-0.2, side * 0.1, saddle), knee, 0.085, raw_id, trousers, 0.07, 6))
        parts.append(tube(knee, (-0.02, side * 0.12, saddle - 0.6 + 0.15 * side), 0.06, raw_id, trousers, 0.05, 6))
        parts.append(
            tube((0.03, side * 0.2, saddle + 0.48), (0.33, side * 0.27, saddle + 0.13), 0.05, raw_id, coat, 0.04, 6)
        )
    return join(parts)


def bicyclist(rng: np.random.Generator) -> Mesh:
    """A bicycle and its rider, one class as in SemanticKITTI."""
    return join([bicycle(rng, 31), rider(rng, 31, 0.93)])


def motorcyclist(rng: np.random.Generator) -> Mesh:
    """A motorcycle and its rider, one class as in SemanticKITTI."""
    return join([motorcycle(rng, 32), rider(rng, 32, 0.76)])
