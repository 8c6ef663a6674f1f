# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Things that stand: trees, hedges, buildings, fences, lamps, signs, street furniture. x along the street, z up."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from srkd_train.simulation.mesh import GLASS, RETRO, Mesh, box, hexahedron, join, leaves, make, quads, tube

BUILDING, FENCE, OTHER_STRUCTURE, VEGETATION, TRUNK, POLE, SIGN, OTHER_OBJECT = 50, 51, 52, 70, 71, 80, 81, 99


def tree(rng: np.random.Generator, height: float) -> Mesh:
    """A broad-leaved tree: leaning trunk, limbs, leaf clumps around the limbs; or, one in six, a conifer."""
    bark = rng.uniform(0.2, 0.4)
    radius = 0.022 * height * rng.uniform(0.7, 1.3)
    if rng.random() < 0.17:
        levels = np.linspace(0.12, 0.97, 9)
        centres = np.stack([np.zeros(9), np.zeros(9), levels * height], 1)
        spread = (1.02 - levels) * height * rng.uniform(0.2, 0.27)
        radii = np.stack([spread, spread, np.full(9, 0.06 * height)], 1)
        crown = leaves(rng, centres, radii, int(130 * height), 0.21, VEGETATION, 0.42)
        return join([tube((0, 0, -0.2), (0, 0, 0.9 * height), radius, TRUNK, bark, 0.04), crown])
    lean = rng.normal(scale=0.03 * height, size=2)
    fork = height * rng.uniform(0.28, 0.42)
    top = np.array([*lean, fork])
    parts = [tube((0, 0, -0.2), top, radius, TRUNK, bark, 0.75 * radius)]
    limbs = int(rng.integers(4, 8))
    angle = np.arange(limbs) * (2 * np.pi / limbs) + rng.uniform(0, 1, limbs)
    reach = height * rng.uniform(0.12, 0.26, limbs)
    rise = height * rng.uniform(0.15, 0.5, limbs)
    ends = top + np.stack([reach * np.cos(angle), reach * np.sin(angle), rise], 1)
    # Limbs are within the crown, which SemanticKITTI labels vegetation as a whole.
    parts += [tube(top, end, 0.5 * radius, VEGETATION, bark, 0.03, 5) for end in ends]
    centres = np.concatenate([ends, top[None] + [[0, 0, 0.5 * height]]])
    centres = np.concatenate([centres, centres + rng.normal(scale=0.07 * height, size=centres.shape)])
    radii = rng.uniform(0.07, 0.16, (len(centres), 1)) * height * [1.0, 1.0, 0.8]
    parts.append(leaves(rng, centres, radii, int(190 * height), 0.2, VEGETATION, 0.5))
    return join(parts)


def bush(rng: np.random.Generator, size: float) -> Mesh:
    """A bush of a few clumps, size metres across."""
    centres = rng.normal(scale=0.22, size=(5, 3)) * size + [0, 0, 0.38 * size]
    centres[:, 2] = np.abs(centres[:, 2])
    radii = rng.uniform(0.22, 0.4, (5, 1)) * size * [1, 1, 0.9]
    return leaves(rng, centres, radii, int(420 * size), 0.12, VEGETATION, 0.5)


def hedge(rng: np.random.Generator, length: float, height: float, depth: float = 0.7) -> Mesh:
    """A clipped hedge along x from 0 to length: facets near the faces of a box."""
    count = int(length * (height + depth) * 80)
    place = rng.uniform([0, -depth / 2, 0], [length, depth / 2, height], (count, 3))
    # Two of three leaves move to a long side or the top, with the unevenness of leaves.
    side = rng.random(count)
    place[side < 0.25, 1], place[(side >= 0.25) & (side < 0.5), 1] = -depth / 2, depth / 2
    place[(side >= 0.5) & (side < 0.7), 2] = height
    place += rng.normal(scale=0.05, size=place.shape)
    shape = rng.normal(scale=0.08, size=(count, 3, 3))
    return make(place[:, None] + shape, VEGETATION, 0.5 * rng.uniform(0.6, 1.3, count))


def grass_tufts(rng: np.random.Generator, length: float, depth: float, density: float) -> Mesh:
    """High grass and weeds over a rectangle [0, length] x [0, depth]; SemanticKITTI calls it vegetation."""
    count = int(length * depth * density)
    place = np.zeros((count, 3))
    place[:, :2] = rng.uniform(0, [length, depth], (count, 2))
    place[:, 2] = rng.uniform(0.05, 0.35, count)
    return make(place[:, None] + rng.normal(scale=0.12, size=(count, 3, 3)), VEGETATION, rng.uniform(0.3, 0.6, count))


def facade(
    rng: np.random.Generator,
    length: float,
    floors: int,
    wall: float,
    floor_height: float = 3.0,
    plinth: float = 0.0,
    shop: bool = False,
) -> Mesh:
    """A wall in the plane y = 0 from x = 0 to length, looking to -y, with recessed windows, doors and balconies."""
    pitch, depth = rng.uniform(2.2, 3.2), 0.18
    bays = max(1, int(length / pitch))
    pitch = length / bays
    inset = pitch * rng.uniform(0.24, 0.32)
    sill, head = 0.9, 2.3
    parts, cells = [], []  # cells: (x0, x1, z0, z1, y) wall rectangles
    top = plinth + floors * floor_height
    for floor in range(floors):
        z = plinth + floor * floor_height
        z0, z1 = (z + 0.35, z + 2.6) if shop and floor == 0 else (z + sill, z + head)
        side = 0.25 if shop and floor == 0 else inset
        balcony = floor > 0 and rng.random() < 0.4
        door = int(rng.integers(bays)) if floor == 0 else -1
        cells += [(0.0, length, z, z0, 0.0), (0.0, length, z1, z + floor_height, 0.0)]
        for bay in range(bays):
            x = bay * pitch
            a, b = x + side, x + pitch - side
            cells += [(x, a, z0, z1, 0.0), (b, x + pitch, z0, z1, 0.0)]
            glass = quads(np.array([[(a, depth, z0), (b, depth, z0), (b, depth, z1), (a, depth, z1)]]))
            parts.append(make(glass, BUILDING, 0.1, GLASS))
            # Frame, reveal and cross-bar: what really returns from a window.
            parts.append(box(((a + b) / 2 - 0.04, depth - 0.05, z0), ((a + b) / 2 + 0.04, depth, z1), BUILDING, 0.6))
            reveal = [
                [(a, 0, z0), (b, 0, z0), (b, depth, z0), (a, depth, z0)],
                [(a, 0, z1), (b, 0, z1), (b, depth, z1), (a, depth, z1)],
            ]
            reveal += [
                [(a, 0, z0), (a, depth, z0), (a, depth, z1), (a, 0, z1)],
                [(b, 0, z0), (b, depth, z0), (b, depth, z1), (b, 0, z1)],
            ]
            parts.append(make(quads(np.array(reveal)), BUILDING, wall))
            if bay == door:
                parts.append(box((a, 0.05, z), (a + 1.0, 0.2, z + 2.1), BUILDING, 0.25))
            if rng.random() < 0.45:  # curtains and blinds behind the glass
                blind = [[(a, depth + 0.1, z0), (b, depth + 0.1, z0), (b, depth + 0.1, z1), (a, depth + 0.1, z1)]]
                parts.append(make(quads(np.array(blind)), BUILDING, 0.5))
            if balcony and bay % 2 == floor % 2:
                parts.append(box((x + 0.2, -1.1, z - 0.1), (x + pitch - 0.2, 0, z + 0.05), BUILDING, wall))
                parts.append(box((x + 0.2, -1.1, z), (x + pitch - 0.2, -1.05, z + 1.0), BUILDING, 0.4))
    c = np.array(cells)
    x0, x1, z0, z1, y = c.T
    corners = np.stack([np.stack(p, 1) for p in ((x0, y, z0), (x1, y, z0), (x1, y, z1), (x0, y, z1))], 1)
    parts.append(make(quads(corners), BUILDING, wall))
    parts.append(box((0, -0.08, top - 0.15), (length, 0.0, top), BUILDING, wall))
    return join(parts)


def building(
    rng: np.random.Generator, length: float, depth: float, floors: int, flat: bool, shop: bool = False
) -> Mesh:
    """A house on [0, length] x [0, depth], front at y = 0: three facades, back wall, gable or flat roof, chimney."""
    wall = float(rng.choice([0.25, 0.35, 0.5, 0.65]) * rng.uniform(0.85, 1.15))
    height = floors * 3.0
    front = facade(rng, length, floors, wall, shop=shop)
    left, right = (facade(rng, depth, floors, wall) for _ in range(2))
    parts = [
        front,
        left.placed(0, depth, -np.pi / 2),
        right.placed(length, 0, np.pi / 2),
        box((0.3, depth - 0.2, 0), (length - 0.3, depth, height), BUILDING, wall),
        # An inner core, so that rays through windows end inside the house rather than behind it.
        box((1.2, 1.2, 0), (length - 1.2, depth - 0.6, height - 0.1), BUILDING, 0.15),
    ]
    roof = rng.uniform(0.12, 0.35)
    if flat:
        parts.append(box((-0.1, -0.1, height), (length + 0.1, depth + 0.1, height + 0.4), BUILDING, wall))
        return join(parts)
    rise = rng.uniform(0.35, 0.5) * depth
    if rng.random() < 0.5:  # eaves along the street
        y_top, x_top = (depth / 2, depth / 2), (0.0, length)
    else:  # hipped
        y_top, x_top = (depth / 2, depth / 2), (0.3 * length, 0.7 * length)
    eaves = hexahedron(
        (-0.3, length + 0.3), (-0.4, depth + 0.4), height - 0.1, height + rise, BUILDING, roof, 0, x_top, y_top
    )
    chimney = box(
        (0.7 * length, 0.55 * depth, height),
        (0.7 * length + 0.6, 0.55 * depth + 0.6, height + rise + 0.6),
        BUILDING,
        0.3,
    )
    return join([*parts, eaves, chimney])


def fence(rng: np.random.Generator, length: float, style: str | None = None) -> Mesh:
    """A fence along x from 0 to length: wooden pickets, wire mesh, low wall with rail, or guard rail."""
    style = style or str(rng.choice(["picket", "rail", "wire", "wall"]))
    if style == "guard":
        parts = [box((x, -0.06, 0), (x + 0.1, 0.06, 0.72), FENCE, 0.35) for x in np.arange(0, length, 2.0)]
        profile = [(0.45, -0.1), (0.52, -0.18), (0.6, -0.1), (0.68, -0.18), (0.76, -0.1)]
        steps = np.append(np.arange(0, length, 4.0), length)
        rail = [
            [(a, y0, z0), (b, y0, z0), (b, y1, z1), (a, y1, z1)]
            for a, b in pairwise(steps)
            for (z0, y0), (z1, y1) in pairwise(profile)
        ]
        return join([*parts, make(quads(np.array(rail)), FENCE, 0.5)])
    if style == "barrier":
        return join([box((x, 0, 0), (min(x + 4, length), 0.2, 3.2), FENCE, 0.35) for x in np.arange(0, length, 4.0)])
    height = rng.uniform(0.8, 1.5)
    shade = float(rng.uniform(0.2, 0.5))
    posts = [box((x, -0.05, 0), (x + 0.09, 0.05, height + 0.05), FENCE, shade) for x in np.arange(0, length, 2.2)]
    if style == "wall":
        return join([box((0, -0.12, 0), (length, 0.12, height * 0.7), FENCE, shade)])
    if style == "picket":
        x = np.arange(0, length - 0.09, 0.16)
        corners = np.stack(
            [
                np.stack([x + dx, np.zeros_like(x), np.full_like(x, z)], 1)
                for dx, z in ((0, 0.08), (0.1, 0.08), (0.1, height), (0, height))
            ],
            1,
        )
        return join([*posts, make(quads(corners), FENCE, shade)])
    rails = [0.35, 0.7, 1.0] if style == "rail" else np.linspace(0.1, 1.0, 9)
    thick = 0.05 if style == "rail" else 0.012
    return join(
        [
            *posts,
            *(box((0, -0.02, z * height - thick), (length, 0.02, z * height + thick), FENCE, shade) for z in rails),
        ]
    )


def lamp(rng: np.random.Generator, height: float, arm: float) -> Mesh:
    """A street lamp; its arm reaches arm metres towards +y."""
    parts = [tube((0, 0, 0), (0, 0, height), 0.09, POLE, 0.35, 0.055), tube((0, 0, 0), (0, 0, 1.0), 0.13, POLE, 0.35)]
    if arm > 0.3:
        parts.append(tube((0, 0, height - 0.1), (0, arm, height + 0.3), 0.045, POLE, 0.35))
    parts.append(box((-0.14, arm - 0.1, height + 0.22), (0.14, arm + 0.55, height + 0.36), POLE, 0.3))
    return join(parts)


def traffic_sign(rng: np.random.Generator) -> Mesh:
    """A post with one or two retroreflective plates that face -x: discs, triangles, rectangles."""
    height = rng.uniform(2.2, 2.9)
    parts = [tube((0, 0, 0), (0, 0, height + 0.35), 0.035, POLE, 0.4)]
    for i in range(int(rng.integers(1, 3))):
        z = height - 0.75 * i
        shape = rng.choice(["disc", "triangle", "plate"])
        if shape == "plate":
            parts.append(box((-0.06, -0.3, z - 0.3), (-0.045, 0.3, z + 0.3), SIGN, 0.9, RETRO))
        else:
            parts.append(
                tube((-0.06, 0, z), (-0.045, 0, z), 0.34, SIGN, 0.9, sides=14 if shape == "disc" else 3, kind=RETRO)
            )
    return join(parts)


def traffic_light(rng: np.random.Generator, arm: float) -> Mesh:
    """A signal on its pole, now and then with a second one over the road on an arm towards +y."""
    parts = [tube((0, 0, 0), (0, 0, 3.4 if arm < 1 else 5.6), 0.09, POLE, 0.35)]
    parts.append(box((-0.3, -0.16, 2.3), (-0.1, 0.16, 3.25), OTHER_OBJECT, 0.08))
    if arm >= 1:
        parts.append(tube((0, 0, 5.5), (0, arm, 5.7), 0.06, POLE, 0.35))
        parts.append(box((-0.3, arm - 0.2, 5.1), (-0.1, arm + 0.15, 6.1), OTHER_OBJECT, 0.08))
    return join(parts)


def gantry(rng: np.random.Generator, width: float) -> Mesh:
    """A sign gantry over a highway, from y = 0 to width."""
    parts = [tube((0, y, 0), (0, y, 6.2), 0.2, POLE, 0.4) for y in (0.0, width)]
    parts += [tube((0, 0, z), (0, width, z), 0.12, POLE, 0.4) for z in (5.6, 6.3)]
    parts += [box((-0.2, y, 5.2), (-0.15, y + 3.2, 7.2), SIGN, 0.9, RETRO) for y in (0.15 * width, 0.55 * width)]
    return join(parts)


def furniture(rng: np.random.Generator) -> Mesh:
    """A bench, bin, bollard, or electric cabinet: SemanticKITTI's other-object, ignored in its benchmark."""
    match int(rng.integers(4)):
        case 0:
            seat = box((-0.8, -0.2, 0.42), (0.8, 0.2, 0.48), OTHER_OBJECT, 0.35)
            back = box((-0.8, 0.18, 0.5), (0.8, 0.22, 0.9), OTHER_OBJECT, 0.35)
            return join(
                [seat, back, *(box((x, -0.2, 0), (x + 0.08, 0.2, 0.42), OTHER_OBJECT, 0.3) for x in (-0.7, 0.62))]
            )
        case 1:
            return tube((0, 0, 0), (0, 0, 1.0), 0.28, OTHER_OBJECT, 0.25, 0.32)
        case 2:
            return tube((0, 0, 0), (0, 0, 0.95), 0.08, POLE, 0.3)
        case _:
            return box((-0.5, -0.2, 0), (0.5, 0.2, 1.25), OTHER_OBJECT, 0.4)


def shelter() -> Mesh:
    """A bus shelter: glass walls, posts, roof."""
    parts = [
        box((0, 1.3, 0.2), (4, 1.33, 2.2), OTHER_STRUCTURE, 0.1, GLASS),
        box((-0.2, 0, 2.35), (4.2, 1.5, 2.45), OTHER_STRUCTURE, 0.35),
    ]
    parts += [
        box((x, y, 0), (x + 0.08, y + 0.08, 2.35), OTHER_STRUCTURE, 0.4) for x in (0.0, 2.0, 3.92) for y in (0.1, 1.3)
    ]
    return join([*parts, box((0.6, 0.9, 0.4), (3.4, 1.25, 0.46), OTHER_STRUCTURE, 0.4)])
