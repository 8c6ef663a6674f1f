# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""A town: one long street of a style, cross streets, what lines it, what drives and walks on it, and the ego's way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from srkd_train.simulation import objects
from srkd_train.simulation import structures as st
from srkd_train.simulation.ground import CURB, MARKING, OTHER_GROUND, PARKING, ROAD, SIDEWALK, TERRAIN, Ground, Warp
from srkd_train.simulation.mesh import Mesh, join
from srkd_train.simulation.zones import ZONES, Site

MARGIN = 110.0  # metres of street before the ego's first and after its last position
REACH = 75.0  # metres of ground on either side


@dataclass(frozen=True)
class Style:
    """Proportions of a street. Lengths in metres; shares are probabilities."""

    lanes: int  # per direction
    lane: float
    parking: float  # width of a parking lane, 0 for none
    sidewalk: float
    median: float
    speed: float  # of the ego vehicle, m/s
    spacing: float  # between vehicles that drive
    people: float  # per metre of street
    cyclists: float
    zones: dict[str, float]
    block: tuple[float, float]  # length between cross streets
    lamp: float  # height
    lamp_spacing: float


STYLES: dict[str, Style] = {
    "residential": Style(
        1, 3.1, 2.1, 1.9, 0.0, 7.0, 45, 0.06, 0.012,
        {"houses": 0.66, "apartments": 0.12, "park": 0.12, "lot": 0.1}, (60, 100), 5.5, 32,
    ),
    "downtown": Style(
        2, 3.1, 2.2, 3.8, 0.0, 7.0, 24, 0.22, 0.03,
        {"apartments": 0.68, "plaza": 0.14, "lot": 0.1, "park": 0.08}, (65, 110), 8.0, 26,
    ),
    "park": Style(
        1, 3.4, 0.0, 2.2, 0.0, 9.0, 40, 0.07, 0.025,
        {"park": 0.6, "houses": 0.2, "verge": 0.1, "lot": 0.1}, (80, 130), 6.0, 36,
    ),
    "highway": Style(
        2, 3.6, 0.0, 0.0, 2.4, 20.0, 34, 0.0, 0.0,
        {"verge": 0.8, "park": 0.12, "lot": 0.08}, (170, 260), 10.5, 45,
    ),
}  # fmt: skip
ORDER = ("residential", "downtown", "park", "highway")
"""Styles in the order in which the towns of a split take them."""


@dataclass(frozen=True)
class Actor:
    """Something that moves along the street at constant speed, around the town's end to its beginning."""

    mesh: Mesh
    s: float
    d: float
    speed: float  # m/s, negative: against the ego's direction


@dataclass
class Town:
    """Static triangles in the world frame, actors in their own, and the ego's lane."""

    static: Mesh
    actors: list[Actor]
    warp: Warp
    style: str
    length: float
    lane: float  # the ego's d
    speed: float
    caster: Any = field(default=None, repr=False)  # the Embree tree of static, built at the first scan

    def pose(self, time: float, height: float = 1.73) -> np.ndarray:
        """Sensor pose at a time in seconds: float64 [4, 4], sensor to world; pitch and roll follow the street."""
        s, d = self.speed * time, self.lane
        ahead, behind, left = self.warp(np.array([[s + 1.3, d, 0], [s - 1.3, d, 0], [s, d + 0.8, 0]]))
        x = (ahead - behind) / np.linalg.norm(ahead - behind)
        z = np.cross(x, left - (ahead + behind) / 2)
        z /= np.linalg.norm(z)
        pose = np.eye(4)
        pose[:3, 0], pose[:3, 1], pose[:3, 2] = x, np.cross(z, x), z
        pose[:3, 3] = (ahead + behind) / 2 + height * z
        return pose

    def moving(self, time: float, near: float = 130.0) -> Mesh:
        """Triangles of the actors at a time, world frame, of those within near metres of the ego."""
        ego, span = self.speed * time, self.length + 2 * MARGIN
        parts = []
        for actor in self.actors:
            s = (actor.s + actor.speed * time + MARGIN) % span - MARGIN
            if abs(s - ego) < near:
                yaw = 0.0 if actor.speed >= 0 else np.pi
                parts.append(self.warp.mesh(actor.mesh.placed(s, actor.d, yaw)))
        return join(parts)


def build_town(seed: int, index: int = 0, length: float = 200.0, style: str | None = None) -> Town:
    """The town number index of a seed. The same arguments give the same triangles; style None: by turns."""
    name = style or ORDER[index % len(ORDER)]
    kind = STYLES[name]
    rng = np.random.default_rng(np.random.SeedSequence([seed, index]))
    warp = Warp(
        rng.uniform(3, 9), rng.uniform(220, 380), rng.uniform(0, 6.28), rng.uniform(0.3, 2.0), rng.normal(0, 0.01)
    )
    start, end = -MARGIN, length + MARGIN
    ground = Ground((start, end), (-REACH, REACH), TERRAIN, 0.06)
    parts: list[Mesh] = []

    road = kind.median / 2 + kind.lanes * kind.lane + (2.6 if name == "highway" else 0.2)
    edge = road + kind.parking + kind.sidewalk
    ground.paint((start, end), (-road, road), ROAD)
    for side in (-1, 1):
        if kind.parking:
            ground.paint((start, end), (side * road, side * (road + kind.parking)), PARKING, 0.02)
        if kind.sidewalk:
            ground.paint((start, end), (side * (road + kind.parking), side * edge), SIDEWALK, CURB)
    if kind.median:
        ground.paint((start, end), (-kind.median / 2, kind.median / 2), OTHER_GROUND, CURB)
        parts += [
            st.fence(rng, end - start, "guard").placed(start, 0.0),
            st.fence(rng, end - start, "guard").placed(end, 0, np.pi),
        ]

    crossings = _blocks(rng, kind, start, end, ground, parts, road, edge, name)
    _markings(ground, kind, start, end, crossings, road)
    warped = warp.mesh(join([ground.mesh(rng), *parts]))
    lane = -(kind.median / 2 + kind.lane * (kind.lanes - 0.5))
    return Town(warped, _traffic(rng, kind, start, end, road, edge), warp, name, length, lane, kind.speed)


def _blocks(
    rng: np.random.Generator,
    kind: Style,
    start: float,
    end: float,
    ground: Ground,
    parts: list[Mesh],
    road: float,
    edge: float,
    name: str,
) -> list[tuple[float, float]]:
    """Both sides of every block, and the cross streets between blocks; returns their extents along s."""
    crossings, s = [], start
    instance, draw = [0], rng.random()
    while s < end:
        stop = s + rng.uniform(*kind.block)
        if stop > end - 55.0:  # no stub of a block at the end
            stop = end
        for side in (1, -1):
            # Steps of the golden ratio through the shares: even a short street has its share of every kind of block.
            draw = (draw + 0.618034) % 1.0
            zone = list(kind.zones)[int(np.searchsorted(np.cumsum(list(kind.zones.values()))[:-1], draw))]
            site = Site(ground, parts, (s, edge) if side > 0 else (stop, -edge), 0 if side > 0 else 2, rng, instance)
            if kind.sidewalk:
                _strip(rng, kind, site, stop - s)
            ZONES[zone](rng, site, stop - s)
        if name == "highway" and rng.random() < 0.7:
            parts.append(st.gantry(rng, road + 1.5).placed(s + 20, -road - 0.8))
        if stop < end and name != "highway":
            width = rng.uniform(6.0, 9.0)
            crossings.append((stop, stop + width))
            ground.paint((stop, stop + width), (-REACH, REACH), ROAD)
            for side in (-1, 1):
                for a, b in ((stop, stop + 1.8), (stop + width - 1.8, stop + width)):
                    ground.paint((a, b), (side * edge, side * REACH), SIDEWALK, CURB)
                for d in np.arange(edge + 9, REACH - 20, 14.0):
                    if rng.random() < 0.6:
                        car = objects.car(rng).labelled(10, site.number())
                        parts.append(car.placed(stop + width - 2.9, side * d, np.pi / 2))
            corner = site.number() % 2
            mast = st.traffic_light(rng, 0.0 if corner else 3.5)
            parts += [mast.placed(stop - 1.0, -edge + 1.0), mast.placed(stop + width + 1.0, edge - 1.0, np.pi)]
            s = stop + width
        else:
            s = stop
    return crossings


def _strip(rng: np.random.Generator, kind: Style, site: Site, length: float) -> None:
    """Parking lane and sidewalk of one block side: parked vehicles, lamps, signs, street trees, people, bicycles."""
    inner = -kind.sidewalk  # w of the curb; the zone begins at w = 0
    if kind.parking:
        u, w = 6.0, inner - kind.parking / 2
        while u < length - 6:
            if rng.random() < 0.68:
                draw = rng.random()
                model = (
                    objects.car
                    if draw < 0.9
                    else objects.truck
                    if draw < 0.94
                    else objects.trailer
                    if draw < 0.98
                    else objects.bus
                )
                size = 4.8 if model is objects.car else 11.0
                if u + size < length - 5:
                    # Vehicles face the traffic of their side: +s on the right, -s on the left, so against u everywhere.
                    site.vehicle(model(rng), u + size / 2, w + rng.normal(0, 0.1), np.pi + rng.normal(0, 0.02))
                u += size + rng.uniform(0.7, 1.6)
            else:
                u += rng.uniform(3, 7)
    for u in np.arange(rng.uniform(4, 14), length - 2, kind.lamp_spacing):
        site.add(st.lamp(rng, kind.lamp * rng.uniform(0.95, 1.05), 1.2), u, inner + 0.4, np.pi, CURB)
    for u in np.arange(rng.uniform(2, 10), length - 2, 24.0):
        site.add(st.traffic_sign(rng), u, inner + 0.45, np.pi + rng.normal(0, 0.1), CURB)
    if kind.sidewalk > 3 or rng.random() < 0.4:
        for u in np.arange(rng.uniform(4, 9), length - 4, rng.uniform(9, 15)):
            site.paint((u - 0.7, u + 0.7), (inner + 0.15, inner + 1.2), TERRAIN, CURB)
            site.add(st.tree(rng, rng.uniform(5.5, 10)), u, inner + 0.7, rng.uniform(0, 6), CURB)
    for _ in range(rng.poisson(kind.people * length * 0.5)):
        u, w = rng.uniform(1, length - 1), rng.uniform(inner + 0.4, -0.3)
        for _ in range(int(rng.integers(1, 4))):
            person = objects.person(rng)
            site.vehicle(person, u + rng.normal(0, 0.5), min(w + rng.normal(0, 0.4), -0.2), rng.uniform(0, 6.28), CURB)
    for _ in range(rng.poisson(length / 45)):
        u = rng.uniform(2, length - 4)
        model = objects.bicycle if rng.random() < 0.65 else objects.motorcycle
        for i in range(int(rng.integers(1, 5))):
            site.vehicle(model(rng), u + 0.75 * i, -0.9, np.pi / 2 + rng.normal(0, 0.12), CURB)
    for _ in range(rng.poisson(length / 25)):
        site.add(st.furniture(rng), rng.uniform(1, length - 1), inner + 0.5, 0.0, CURB)
    if kind.sidewalk > 2 and rng.random() < 0.2:
        site.add(st.shelter(), rng.uniform(5, max(6.0, length - 10)), -1.8, 0.0, CURB)


def _markings(
    ground: Ground, kind: Style, start: float, end: float, crossings: list[tuple[float, float]], road: float
) -> None:
    """Lane lines, edge lines, stop lines and zebra crossings, left out inside crossings."""
    free, s = [], start
    for a, b in crossings:
        free.append((s, a - 5.0))
        s = b + 5.0
    free.append((s, end))
    lines = [side * (kind.median / 2 + i * kind.lane) for side in (-1, 1) for i in range(1, kind.lanes)]
    solid = [side * (kind.median / 2 + kind.lanes * kind.lane) for side in (-1, 1)] if kind.median else []
    if not kind.median:
        lines.append(0.0)
    for a, b in free:
        for d in lines:
            for dash in np.arange(a, b - 3.0, 9.0):
                ground.paint((dash, dash + 3.0), (d - 0.07, d + 0.07), MARKING)
        for d in solid:
            ground.paint((a, b), (d - 0.1, d + 0.1), MARKING)
    for i, (a, b) in enumerate(crossings):
        ground.paint((a - 4.6, a - 4.2), (-road, 0), MARKING)
        ground.paint((b + 4.2, b + 4.6), (0, road), MARKING)
        if i % 2 == 0:
            for d in np.arange(-road + 0.3, road - 0.5, 1.0):
                ground.paint((a - 3.6, a - 0.6), (d, d + 0.5), MARKING)


def _traffic(rng: np.random.Generator, kind: Style, start: float, end: float, road: float, edge: float) -> list[Actor]:
    """Vehicles in every lane, cyclists at the curb, people on sidewalks. The ego's lane keeps the ego's speed."""
    actors: list[Actor] = []

    def add(mesh: Mesh, raw_id: int, s: float, d: float, speed: float, z: float = 0.0) -> None:
        shape = mesh.labelled(objects.MOVING[raw_id], 4096 + len(actors)).placed(0.0, 0.0, 0.0, z)
        actors.append(Actor(shape, s, d, speed))

    heavy = 0.36 if kind.median else 0.16
    for direction in (1, -1):
        for lane in range(kind.lanes):
            d = -direction * (kind.median / 2 + kind.lane * (lane + 0.5))
            own = direction > 0 and lane == kind.lanes - 1
            speed = kind.speed * (1.0 if own else rng.uniform(0.85, 1.3)) * direction
            s = start + rng.uniform(5, 25)
            number = 0
            while s < end - 20:
                if not (own and abs(s) < 16):
                    draw, number = rng.random(), number + 1
                    if number % 4 == 3 and lane == kind.lanes - 1:  # rare where left to chance
                        add(objects.motorcyclist(rng), 32, s, d, speed)
                    elif draw > heavy:
                        add(objects.car(rng), 10, s, d + rng.normal(0, 0.15), speed)
                    elif draw < 0.55 * heavy:
                        add(objects.truck(rng), 18, s, d, speed)
                    elif draw < 0.75 * heavy:
                        add(objects.bus(rng), 13, s, d, speed)
                    else:
                        add(objects.trailer(rng), 20, s, d, speed)
                s += rng.uniform(0.6, 1.5) * kind.spacing + 8
    for _ in range(rng.poisson(kind.cyclists * (end - start)) + (3 if kind.cyclists else 0)):
        direction = int(rng.choice([-1, 1]))
        d = -direction * (road - 0.35)
        add(objects.bicyclist(rng), 31, rng.uniform(start, end), d, direction * rng.uniform(3.5, 6.0))
    for _ in range(rng.poisson(kind.people * (end - start) * 0.6)):
        d = float(rng.choice([-1, 1])) * rng.uniform(edge - kind.sidewalk + 0.6, edge - 0.4)
        add(
            objects.person(rng),
            30,
            rng.uniform(start, end),
            d,
            float(rng.choice([-1, 1])) * rng.uniform(0.9, 1.6),
            CURB,
        )
    return actors
