# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The node's parts without ROS: worker, rates and losses, plausible latencies, frames, settings, transport."""

import os
import threading
import time

import numpy as np
import pytest

from srkd_ros.background import at_full_priority, in_background
from srkd_ros.errors import ConfigError, ModelError
from srkd_ros.labels import LabelSet
from srkd_ros.network.config import preset
from srkd_ros.node import settings, transport
from srkd_ros.node.frames import Pose, from_quaternion, from_rpy, mounting, training_height
from srkd_ros.node.newest import NewestWorker
from srkd_ros.node.stream import Latencies, LossDetector, Rate, duration, stamp_latency
from srkd_ros.node.tally import Tally
from srkd_ros.student import InputStatistics, Manifest

DEFAULTS = {name: p.default for name, p in settings.PARAMETERS.items()}


def test_worker_takes_the_newest_and_counts_the_rest():
    gate, done = threading.Event(), []

    def work(item):
        gate.wait(5.0)
        done.append(item)

    worker = NewestWorker(work, failed=pytest.fail)
    for i in range(100):
        worker.put(i)
        if i == 0:
            time.sleep(0.1)  # the first is in work
    gate.set()
    assert worker.call(lambda: list(done)) in ([0], [0, 99])
    assert worker.call(lambda: 3) == 3
    time.sleep(0.05)
    assert done == [0, 99]
    assert worker.dropped == 98
    assert worker.stop(1.0)
    worker.put(1)  # ignored
    with pytest.raises(RuntimeError):
        worker.call(lambda: 0)


def test_worker_survives_errors_and_forgets_items():
    errors, alive = [], []

    class Big:
        def __del__(self):
            alive.append("freed")

    def work(item):
        if item == "bad":
            raise ValueError("x")

    worker = NewestWorker(work, errors.append)
    worker.put("bad")
    assert worker.call(lambda: 1) == 1
    worker.put(Big())
    worker.call(lambda: 1)
    time.sleep(0.05)
    assert [str(e) for e in errors] == ["x"]
    assert alive == ["freed"]
    with pytest.raises(ZeroDivisionError):
        worker.call(lambda: 1 / 0)
    assert worker.stop(1.0)


def test_what_starts_threads_leaves_the_background():
    def niceness():
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    def work():
        here = (threading.get_ident(), niceness())
        with pytest.raises(ZeroDivisionError):
            at_full_priority(lambda: 1 / 0)
        return here, at_full_priority(lambda: (threading.get_ident(), niceness()))

    own = (threading.get_ident(), niceness())
    background, full = in_background(work)
    assert background[0] != own[0]
    assert background[1] == 19
    assert full == own
    assert at_full_priority(threading.get_ident) == own[0]
    with pytest.raises(ZeroDivisionError):
        in_background(lambda: 1 / 0)


def test_rate():
    rate = Rate()
    assert rate.per_second(0.0) == 0
    for i in range(51):
        rate.tick(i * 0.1)
    assert rate.per_second(5.0) == pytest.approx(10.0)
    assert rate.per_second(7.0) < 8
    assert rate.per_second(20.0) == 0
    assert rate.total == 51


def test_percentiles():
    latencies = Latencies(size=100)
    for i in range(1000):
        latencies.add({"total": float(i)})
    assert latencies.percentiles()["total"] == pytest.approx((949.5, 994.05, 998.01))


def test_losses_that_the_middleware_reports():
    tally = Tally()
    assert tally.missing(0.0) == 0
    for i in range(50):
        (tally.received if i % 5 == 0 else tally.lost).tick(i * 0.1)
    assert tally.missing(5.0) == pytest.approx(0.8, abs=0.05)


def stream(count: int, hertz: float, keep, jitter: float = 0.0) -> LossDetector:
    generator = np.random.default_rng(0)
    detector = LossDetector()
    for i in range(count):
        if keep(i):
            detector.add(int((1000 + i / hertz + generator.normal(0, jitter)) * 1e9))
    return detector


def test_loss_is_seen_in_the_stamps():
    assert stream(100, 10, lambda i: True, jitter=0.002).result().lost == 0
    generator = np.random.default_rng(1)
    heavy = stream(600, 10, lambda i: generator.random() < 0.35, jitter=0.001).result()
    assert heavy.period == pytest.approx(0.1, rel=0.05)
    assert heavy.share == pytest.approx(0.65, abs=0.08)
    assert stream(10, 10, lambda i: True).result() is None
    assert stream(200, 20, lambda i: i < 50 or i > 150).result().lost <= 2  # a pause is no loss


@pytest.mark.parametrize("seed", range(5))
def test_no_loss_is_claimed_without_a_steady_rate(seed):
    generator = np.random.default_rng(seed)
    wild, stumbling, late = LossDetector(), LossDetector(), 0.0
    for i, gap in enumerate(generator.uniform(0.05, 0.4, 200)):
        wild.add(int((1000 + i * 0.2 + gap) * 1e9))
        late = max(0.0, late - 0.15) + generator.exponential(0.08)  # a player that stalls and then catches up
        stumbling.add(int((1000 + i * 0.2 + late) * 1e9))
    for detector in (wild, stumbling):
        assert detector.result() is None or detector.result().lost <= 2


def test_time_that_goes_backwards_starts_anew():
    detector = stream(100, 10, lambda i: True)
    detector.add(5)
    assert detector.result() is None


@pytest.mark.parametrize(
    ("now", "stamp", "simulated", "milliseconds", "says"),
    [
        (10_050_000_000, 10_000_000_000, False, 50.0, ""),
        (10_000_000_000, 0, False, None, "no stamp"),
        (10_000_000_000, -5, False, None, "no stamp"),
        (0, 10_000_000_000, True, None, "/clock"),
        (10_000_000_000, 12_000_000_000, False, None, "2.0 s ahead"),
        (9_990_000_000, 10_000_000_000, True, None, "10.0 ms ahead of /clock"),
        (10**18, 10**9, False, None, "use_sim_time"),
        (10**18, 10**9, True, None, "another recording"),
    ],
)
def test_latency_from_the_stamp_is_told_or_not_at_all(now, stamp, simulated, milliseconds, says):
    value, why = stamp_latency(now, stamp, simulated)
    assert value == (None if milliseconds is None else pytest.approx(milliseconds))
    assert says in why


def test_durations_for_people():
    assert [duration(s) for s in (0.0032, 4.1, 600, 7200, 14 * 86400)] == [
        "3.2 ms",
        "4.1 s",
        "10.0 min",
        "2.0 h",
        "14 days",
    ]


def test_rotations():
    xyz = np.array([[1.0, 2.0, 3.0], [np.nan, 0.0, np.inf]], np.float32)
    upside_down = from_rpy(np.pi, 0, 0)(xyz)
    assert upside_down[0] == pytest.approx([1, -2, -3], abs=1e-6)
    assert not np.isfinite(upside_down[1]).any()
    yaw = from_rpy(0, 0, 0.3)
    half = from_quaternion(0, 0, np.sin(0.15), np.cos(0.15), (1.0, 2.0, 3.0))
    assert np.allclose(yaw.rotation, half.rotation)
    both = half.after(yaw)
    assert np.allclose(both(xyz[:1]), half(yaw(xyz[:1])), atol=1e-5)
    general = from_rpy(0.1, -0.4, 2.0).rotation
    assert np.allclose(general @ general.T, np.eye(3))
    assert np.linalg.det(general) == pytest.approx(1)


def manifest(**changes) -> Manifest:
    return Manifest(preset("nano"), LabelSet.load("semantickitti"), **changes)


def test_mounting_height():
    told = manifest(provenance={"sensor_height": 1.73})
    assert mounting(told, (0, 0, 0), -1.0) is None
    pose = mounting(told, (0, 0, 0), 0.5)
    assert isinstance(pose, Pose)
    assert pose(np.array([[5.0, 0, -0.5]], np.float32))[0] == pytest.approx([5, 0, -1.73])  # ground to ground
    assert training_height(manifest(statistics=InputStatistics(z={"0.01": -1.9}))) == pytest.approx(1.9)
    with pytest.raises(ConfigError, match="sensor_height"):
        mounting(manifest(), (0, 0, 0), 1.0)


def test_settings_are_checked():
    assert settings.check(DEFAULTS).filter_classes == ()
    assert settings.check({**DEFAULTS, "filter_classes": None}).filter_classes == ()
    good = settings.check(
        {**DEFAULTS, "intensity_scale": 255, "filter_classes": "car, person", "sensor_rpy": [3.14, 0, 0]}
    )
    assert (good.intensity_scale, good.filter_classes) == (255.0, ("car", "person"))
    assert settings.check({**DEFAULTS, "intensity_scale": "255"}).intensity_scale == 255.0
    for name, wrong in {
        "intensity_scale": -1,
        "filter_classes": 3,
        "min_confidence": "high",
        "sensor_rpy": [1.0],
        "sensor_height": float("nan"),
        "keep_input_fields": "yes",
        "model": 3,
        "threads": 2.5,
        "autostart": 1,
    }.items():
        with pytest.raises(ConfigError, match=name):
            settings.check({**DEFAULTS, name: wrong})
    assert all(p.description.endswith(".") for p in settings.PARAMETERS.values())
    assert [settings.thread_count(0, c) for c in (1, 2, 4, 12)] == [1, 2, 3, 11]
    assert settings.thread_count(2, 12) == 2


def test_misspelt_parameters_are_named():
    given = ["model", "modle", "use_sim_time", "qos_overrides./points.subscription.depth", "colour"]
    assert settings.unknown_names(given) == [
        "unknown parameter 'colour' is ignored",
        "unknown parameter 'modle' is ignored; did you mean 'model'?",
    ]


def test_models_by_name_stay_inside_their_folder(tmp_path):
    folder = tmp_path / "models"
    (folder / "deep").mkdir(parents=True)
    for path in (folder / "a.safetensors", folder / "deep/b.onnx", tmp_path / "c.onnx", folder / "d.engine"):
        path.write_bytes(b"")
    (folder / "link.onnx").symlink_to(tmp_path / "c.onnx")
    given = str(folder / "a.safetensors")
    for model_dir in ("", str(folder)):
        assert settings.model_path("a.safetensors", given, model_dir) == folder / "a.safetensors"
        assert settings.model_path("deep/b.onnx", given, model_dir) == folder / "deep/b.onnx"
        assert settings.model_path(given, given, model_dir) == folder / "a.safetensors"  # the same file, written anew
        for name in ("../c.onnx", str(tmp_path / "c.onnx"), str(folder / "deep/b.onnx"), "link.onnx", "d.engine", ""):
            with pytest.raises(ModelError):
                settings.model_path(name, given, model_dir)
    with pytest.raises(ModelError, match="model_dir"):
        settings.model_path("a.safetensors", "", "")
    with pytest.raises(ModelError, match="model_dir"):
        settings.model_path(given, "", "")
    assert settings.model_path("a.safetensors", "", str(folder)) == folder / "a.safetensors"
    assert settings.model_path("a.safetensors", "a.safetensors", str(folder)) == folder / "a.safetensors"
    with pytest.raises(ModelError, match="model:="):
        settings.model_path("", "", "")


def test_a_misspelt_model_names_those_beside_it_alone(tmp_path, monkeypatch):
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    for name in ("a.safetensors", "b.onnx", "notes.txt", "deep/c.onnx", "deep/deeper/d.onnx"):
        (tmp_path / name).write_bytes(b"")

    def refusal(name: str) -> str:
        with pytest.raises(ModelError) as error:
            settings.model_path(name, "given.onnx", str(tmp_path))
        return str(error.value).partition("there are ")[2]

    assert refusal("typo.onnx") == "a.safetensors, b.onnx"
    assert refusal("deep/typo.onnx") == "deep/c.onnx"
    assert refusal("nowhere/typo.onnx") == "a.safetensors, b.onnx"
    monkeypatch.setattr(settings, "LISTED", 1)
    assert "," not in refusal("typo.onnx")
    monkeypatch.setattr(os, "scandir", lambda _: (tmp_path / "forbidden").open())
    assert refusal("typo.onnx") == "no models"


def test_transport_profile_is_only_a_default(monkeypatch):
    chosen = transport.profile_environment({})
    if chosen:
        assert set(chosen) == set(transport.VARIABLES)
        assert all(value.endswith("fastdds_shm.xml") for value in chosen.values())
    assert transport.profile_environment({"FASTRTPS_DEFAULT_PROFILES_FILE": "mine.xml"}) == {}
    assert transport.profile_environment({"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}) == {}
    monkeypatch.setattr(transport, "SEGMENT_BYTES", 1 << 60)
    assert transport.profile_environment({}) == {}
    assert "FASTRTPS_DEFAULT_PROFILES_FILE" in transport.loss_advice("rmw_fastrtps_cpp")
    assert "rmem_max" in transport.loss_advice("rmw_cyclonedds_cpp")
