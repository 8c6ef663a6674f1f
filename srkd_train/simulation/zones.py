# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""What lines a street behind its sidewalk, block by block: houses, apartments, park, parking lot, plaza, verge."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from srkd_train.simulation import objects
from srkd_train.simulation import structures as st
from srkd_train.simulation.ground import CURB, OTHER_GROUND, PARKING, ROAD, SIDEWALK, TERRAIN, Ground
from srkd_train.simulation.mesh import Mesh


class Site:
    """A corner of the street with its own axes: u along the block, w away from the street (0: the sidewalk's edge)."""

    def __init__(
        self,
        ground: Ground,
        parts: list[Mesh],
        origin: tuple[float, float],
        quarter: int,
        rng: np.random.Generator,
        counter: list[int],
    ) -> None:
        self.ground, self.parts, self.origin, self.quarter = ground, parts, origin, quarter
        self.counter = counter
        self.c, self.s = [(1, 0), (0, 1), (-1, 0), (0, -1)][quarter]

    def number(self) -> int:
        """The next instance number, 1..4095; moving actors count from 4096."""
        self.counter[0] = self.counter[0] % 4095 + 1
        return self.counter[0]

    def point(self, u: float, w: float) -> tuple[float, float]:
        return self.origin[0] + self.c * u - self.s * w, self.origin[1] + self.s * u + self.c * w

    def paint(self, u: tuple[float, float], w: tuple[float, float], label: int, height: float = 0.0) -> None:
        (s0, d0), (s1, d1) = self.point(u[0], w[0]), self.point(u[1], w[1])
        self.ground.paint((s0, s1), (d0, d1), label, height)

    def add(self, mesh: Mesh, u: float, w: float, yaw: float = 0.0, z: float = 0.0, scale: float = 1.0) -> None:
        x, y = self.point(u, w)
        self.parts.append(mesh.placed(x, y, yaw + self.quarter * np.pi / 2, z, scale))

    def vehicle(self, mesh: Mesh, u: float, w: float, yaw: float = 0.0, z: float = 0.0) -> None:
        """Add a countable thing under an instance number of its own."""
        self.add(mesh.labelled(int(mesh.raw_ids[0]), self.number()), u, w, yaw, z)


def houses(rng: np.random.Generator, site: Site, length: float) -> None:
    """Detached houses behind front gardens with fences or hedges, driveways, garden trees."""
    setback, u = rng.uniform(3.5, 8.0), rng.uniform(0.5, 3.0)
    boundary = rng.choice(["fence", "hedge", "open"], p=[0.45, 0.35, 0.2])
    while u < length - 10:
        width, depth = rng.uniform(8, 13), rng.uniform(8, 11)
        width = min(width, length - u - 1)
        drive = 3.2
        floors = int(rng.choice([1, 2, 3], p=[0.25, 0.6, 0.15]))
        house = st.building(rng, width, depth, floors, rng.random() < 0.15)
        site.add(house, u + drive, setback + rng.normal(0, 0.4), 0.0, 0.1)
        site.paint((u, u + drive - 0.3), (0, setback + depth * 0.6), PARKING, 0.08)
        if rng.random() < 0.55:
            site.vehicle(
                objects.car(rng),
                u + drive / 2 - 0.1,
                setback + rng.uniform(-1.2, 2.5),
                np.pi / 2 * rng.choice([-1, 1]),
                0.08,
            )
        site.paint((u + drive + width / 2, u + drive + width / 2 + 1.2), (0, setback), SIDEWALK, 0.1)
        for a, b in ((u + drive, u + drive + width / 2 - 0.1), (u + drive + width / 2 + 1.3, u + drive + width + 1.0)):
            if boundary == "fence":
                site.add(st.fence(rng, b - a), a, 0.15, 0.0, 0.08)
            elif boundary == "hedge":
                site.add(st.hedge(rng, b - a, rng.uniform(0.8, 1.8)), a, 0.45, 0.0, 0.05)
        for _ in range(rng.poisson(4.0)):
            site.add(
                st.bush(rng, rng.uniform(0.6, 1.6)),
                u + rng.uniform(drive, drive + width),
                rng.uniform(0.8, setback - 0.8),
                0.0,
                0.05,
            )
        if rng.random() < 0.75:
            site.add(
                st.tree(rng, rng.uniform(4, 8)),
                u + drive + rng.uniform(0, width),
                rng.uniform(1.2, setback - 0.8),
                0.0,
                0.05,
            )
        for _ in range(3):
            site.add(
                st.tree(rng, rng.uniform(5, 11)),
                u + rng.uniform(0, drive + width),
                setback + depth + rng.uniform(3, 15),
            )
        u += drive + width + rng.uniform(1.0, 5.0)


def apartments(rng: np.random.Generator, site: Site, length: float) -> None:
    """A row of tall buildings, most of them wall to wall at the sidewalk, shops below, a gap now and then."""
    u = 0.0
    setback = 0.0 if rng.random() < 0.6 else rng.uniform(1.5, 5.0)
    if setback:
        site.paint((0, length), (0, setback), TERRAIN if rng.random() < 0.5 else SIDEWALK, CURB)
    while u < length - 8:
        width = min(rng.uniform(12, 24), length - u)
        floors = int(rng.integers(3, 8))
        site.paint((u, u + width), (0, 4), SIDEWALK, CURB)
        site.add(
            st.building(rng, width, rng.uniform(11, 14), floors, rng.random() < 0.6, rng.random() < 0.5),
            u,
            setback + 0.05,
            0.0,
            CURB,
        )
        u += width + (rng.uniform(3, 8) if rng.random() < 0.35 else 0.05)
        if setback > 1.5:
            site.add(st.hedge(rng, width * 0.6, rng.uniform(0.6, 1.2)), u - width + 1, 0.6, 0.0, CURB)
    site.paint((0, length), (18, 45), OTHER_GROUND if rng.random() < 0.4 else PARKING, 0.05)


def park(rng: np.random.Generator, site: Site, length: float) -> None:
    """Grass, trees, bushes, high grass, a path, people, now and then a fence along the street."""
    path = rng.uniform(6, 14)
    site.paint((0, length), (path, path + 2.2), SIDEWALK if rng.random() < 0.6 else OTHER_GROUND, 0.05)
    if rng.random() < 0.45:
        site.add(st.fence(rng, length - 4), 2.0, 0.3, 0.0, 0.05)
    for _ in range(int(length * rng.uniform(0.22, 0.5))):
        w = rng.uniform(1.5, 50)
        if not path - 1 < w < path + 3:
            site.add(st.tree(rng, rng.uniform(5, 14)), rng.uniform(1, length - 1), w, rng.uniform(0, 6))
    for _ in range(int(length * rng.uniform(0.2, 0.6))):
        site.add(
            st.bush(rng, rng.uniform(0.7, 2.4)),
            rng.uniform(1, length - 1),
            rng.choice([rng.uniform(1, 5), rng.uniform(10, 35)]),
        )
    for _ in range(int(length / 25)):
        site.add(
            st.grass_tufts(rng, rng.uniform(3, 8), rng.uniform(2, 4), 25),
            rng.uniform(0, length - 8),
            rng.uniform(1, 4.5),
        )
    for _ in range(rng.poisson(length / 30)):
        site.vehicle(objects.person(rng), rng.uniform(1, length), path + rng.uniform(0.2, 2), rng.uniform(0, 6), 0.05)
    for _ in range(rng.poisson(length / 40)):
        site.add(st.furniture(rng), rng.uniform(1, length), path - 0.6, 0.0, 0.05)


def lot(rng: np.random.Generator, site: Site, length: float) -> None:
    """A parking lot with rows of vehicles behind a low edge, a hall at its back."""
    site.paint((2, length - 2), (2, 30), PARKING, 0.03)
    site.paint((length / 2 - 3, length / 2 + 3), (-0.1, 2), PARKING, 0.06)
    site.paint((2, length - 2), (9, 15), ROAD, 0.02)
    for row, yaw in ((6.0, np.pi / 2), (18.0, -np.pi / 2), (25.0, np.pi / 2)):
        for u in np.arange(4.5, length - 5, 2.8):
            if abs(u - length / 2) > 4 and rng.random() < 0.6:
                model = objects.car if rng.random() < 0.95 else objects.trailer
                flip = np.pi if rng.random() < 0.3 else 0.0
                site.vehicle(model(rng), u, row + rng.normal(0, 0.15), yaw + flip + rng.normal(0, 0.03), 0.03)
    for a, b in ((1.0, length / 2 - 3.5), (length / 2 + 3.5, length - 1.0)):
        if rng.random() < 0.5:
            site.add(st.fence(rng, max(b - a, 1.0)), a, 0.6, 0.0, 0.05)
        else:
            site.add(st.hedge(rng, max(b - a, 1.0), 0.8), a, 0.9, 0.0, 0.05)
    site.add(st.building(rng, min(length * 0.7, 45), 14, 2, True), length * 0.12, 33)
    for u in np.arange(8, length - 4, 18.0):
        site.add(st.lamp(rng, 6.0, 0.8), u, 15.3)
        site.add(st.tree(rng, rng.uniform(4, 7)), u + 5, 1.4)


def plaza(rng: np.random.Generator, site: Site, length: float) -> None:
    """A paved square: groups of people, parked bicycles, planted trees, furniture, buildings behind."""
    site.paint((0, length), (0, 26), OTHER_GROUND, CURB)
    for _ in range(rng.poisson(length * 0.12)):
        u, w = rng.uniform(2, length - 2), rng.uniform(1, 22)
        for _ in range(int(rng.integers(1, 5))):
            site.vehicle(
                objects.person(rng), u + rng.normal(0, 0.6), w + rng.normal(0, 0.6), rng.uniform(0, 6.28), CURB
            )
    for _ in range(3):
        u, w = rng.uniform(3, length - 8), rng.uniform(0.8, 6)
        model = objects.bicycle if rng.random() < 0.75 else objects.motorcycle
        for i in range(int(rng.integers(4, 10))):
            site.vehicle(model(rng), u + 0.6 * i, w, np.pi / 2 + rng.normal(0, 0.1), CURB)
    for u in np.arange(4, length - 3, 9.0):
        for w in (5.0, 14.0):
            if rng.random() < 0.7:
                site.add(st.tree(rng, rng.uniform(5, 9)), u, w, rng.uniform(0, 6), CURB)
            if rng.random() < 0.4:
                site.add(st.furniture(rng), u + 3, w, 0.0, CURB)
    site.add(st.building(rng, max(length - 4, 8), 12, int(rng.integers(3, 6)), False, True), 2, 27, 0.0, CURB)


def _bank(w: float) -> float:
    """Height of the embankment beside a fast road, w metres from it."""
    return float(np.clip(0.175 * (w - 8.0), 0.0, 2.1))


def verge(rng: np.random.Generator, site: Site, length: float) -> None:
    """Beside a fast road: guard rail, grass strip, then a noise barrier or an embankment with bushes and trees."""
    site.add(st.fence(rng, length, "guard"), 0.0, 0.6)
    site.paint((0, length), (0, 1.0), OTHER_GROUND if rng.random() < 0.5 else TERRAIN, 0.03)
    barrier = rng.random() < 0.35
    if barrier:
        site.add(st.fence(rng, length, "barrier"), 0.0, 5.0)
    for w in np.arange(8.0, 20.0, 0.5):  # strips too low to show as steps
        site.paint((0, length), (w, w + 0.5 if w < 19 else 90.0), TERRAIN, 0.06 + _bank(w))
    site.add(st.grass_tufts(rng, length, 4, 6), 0.0, 1.2)
    for _ in range(int(length * 0.35)):
        w = rng.uniform(7, 42)
        site.add(
            st.tree(rng, rng.uniform(4, 11)),
            rng.uniform(1, length - 1),
            w,
            rng.uniform(0, 6),
            _bank(w),
        )
    for _ in range(int(length * 0.25)):
        w = rng.uniform(2.5, 20)
        site.add(st.bush(rng, rng.uniform(0.7, 2.2)), rng.uniform(1, length - 1), w, 0.0, _bank(w))
    for u in np.arange(rng.uniform(5, 30), length, 40.0):
        site.add(st.lamp(rng, 10.5, 2.5), u, 1.4, np.pi)
        site.add(st.traffic_sign(rng), u + 13, 1.2, np.pi)
    if rng.random() < 0.5 and not barrier:
        site.add(st.building(rng, min(40, length * 0.4), 16, 3, True), length * rng.uniform(0.1, 0.5), 48)


ZONES: dict[str, Callable[[np.random.Generator, Site, float], None]] = {
    "houses": houses,
    "apartments": apartments,
    "park": park,
    "lot": lot,
    "plaza": plaza,
    "verge": verge,
}
