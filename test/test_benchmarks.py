# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The benchmarks' own arithmetic: statistics, tables, files and the comparison of two runs, on made-up numbers."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import compare, peers, report, timing
from benchmarks.__main__ import judge, main, run_jobs
from benchmarks.entries import ENTRIES
from benchmarks.growth import METHODS, plot
from benchmarks.jobs import Job, Settings, Skip, run_job
from benchmarks.timing import CALIBRATOR, Case, Group, Timing, best_ratio, measure, one_thread, paired_ratio
from srkd_ros.errors import ConfigError


@pytest.fixture(autouse=True)
def _single_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "_THREADS", 1)


def row(method: str = "ours", calibrated: float = 1.0, **other: Any) -> dict[str, Any]:
    return {
        "benchmark": "voxelize",
        "input": "os1-64, 0.2 m",
        "method": method,
        "threads": None,
        "sizes": {"points": 65536},
        "rounds": 5,
        "median_ms": 12.345 * calibrated,
        "p95_ms": 23.4,
        "peak_mb": 7.1,
        "stages_ms": {"network": 10.0},
        "reference": "ours",
        "ratio": 1.0,
        "calibrated": calibrated,
        **other,
    }


def document(rows: list[dict[str, Any]]) -> dict[str, Any]:
    skipped = [{"benchmark": "node", "input": "x", "method": "all", "reason": "needs rclpy"}]
    return report.document(report.hardware("python -m benchmarks"), rows, skipped)


def test_median_and_p95_are_those_of_the_times() -> None:
    measured = Timing([float(t) for t in range(1, 101)])
    assert measured.median == 50.5
    assert measured.p95 == pytest.approx(95.05)


def test_paired_ratio_ignores_what_slows_whole_rounds_down() -> None:
    busy = np.array([1.0, 1.0, 50.0, 1.0, 9.0])
    assert paired_ratio(2.0 * busy, busy) == 2.0


def test_best_ratio_is_of_undisturbed_times() -> None:
    assert best_ratio([9.0, 4.0, 70.0], [2.0, 8.0]) == 2.0


def test_measure_takes_turns_and_counts_rounds() -> None:
    order: list[str] = []
    cases = [Case(name, lambda name=name: order.append(name)) for name in "abc"]  # type: ignore[misc]
    timings = measure(cases, seconds=0.0, least=3)
    assert [len(t.times) for t in timings] == [3, 3, 3]
    assert order == [*"abc", *"abc", *"bca", *"cab"]  # a run that does not count, then rounds that begin with another


def test_measure_sees_time_memory_and_stages() -> None:
    def work() -> dict[str, float]:
        np.ones(40_000_000, np.uint8)
        time.sleep(0.01)
        return {"sleep": 10.0}

    (measured,) = measure([Case("work", work, stages=lambda result: result)], seconds=0.0, least=3)
    assert measured.median >= 10.0
    assert measured.stages == {"sleep": 10.0}
    if sys.platform == "linux":
        assert measured.peak_mb == pytest.approx(40.0, abs=10.0)


def test_measure_stops_at_its_time() -> None:
    seen: list[float] = []
    (measured,) = measure([Case("work", lambda: time.sleep(0.002))], seconds=0.05, most=1000, on_round=seen.append)
    assert 5 <= len(measured.times) < 100
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_job_gives_rows_and_reasons_and_closes() -> None:
    closed: list[bool] = []

    def build() -> Group:
        fast = Case("fast", lambda: None)
        slow = Case("slow", lambda: time.sleep(0.004), quick=False)
        return Group([fast, slow], "fast", {"points": 7}, {"peer": "absent"}, lambda: closed.append(True))

    job = Job("sleep", "a little", build, seconds=0.0)
    rows, skipped = run_job(job, quick=False, on_progress=lambda share: None)
    assert [r["method"] for r in rows] == ["fast", "slow"]
    assert rows[1]["ratio"] > 1.5
    assert skipped == {"peer": "absent"}
    assert closed == [True]
    rows, _ = run_job(job, quick=True, on_progress=lambda share: None)
    assert [r["method"] for r in rows] == ["fast"]
    assert rows[0]["calibrated"] > 0
    assert CALIBRATOR not in {r["method"] for r in rows}


def test_job_that_cannot_run_says_why() -> None:
    def build() -> Group:
        raise Skip("needs rclpy")

    assert run_job(Job("node", "x", build), False, lambda share: None) == ([], {"all": "needs rclpy"})


def test_one_thread_is_another_method() -> None:
    case = one_thread(Case("ours", lambda: None))
    assert (case.method, case.threads) == ("ours, one thread", 1)


def test_json_comes_back_as_it_was_written(tmp_path: Path) -> None:
    results = document([row(), row("peer", 2.0, peak_mb=None)])
    report.write_json(tmp_path / "cpu.json", results)
    assert compare.load(tmp_path / "cpu.json") == results
    assert (tmp_path / "cpu.json").read_text().count('"method": "peer"') == 1
    assert [p.name for p in tmp_path.iterdir()] == ["cpu.json"]
    report.write_json(tmp_path / "empty.json", report.document({}, [], []))
    assert json.loads((tmp_path / "empty.json").read_text())["rows"] == []


def test_markdown_names_hardware_ratios_and_what_was_left_out() -> None:
    results = document([row(), row("peer", 2.0, ratio=4.25, peak_mb=None, threads=1)])
    text = report.markdown(results, {"voxelize": "Points to voxels"}, "growth.png")
    assert results["hardware"]["cpu"] in text
    assert "## Points to voxels" in text
    assert "| os1-64, 0.2 m (65,536 points) | ours | all | 12.3 | 23.4 | 1.00 | 7.1 | 5 | network 10.0 |" in text
    assert "|  | peer | 1 | 24.7 | 23.4 | 4.25 |  | 5 | network 10.0 |" in text
    assert "![Time and memory against points](growth.png)" in text
    assert "- node, x, all: needs rclpy" in text


def test_compare_names_what_got_slower_and_nothing_else() -> None:
    then = [row("same", 1.0), row("slower", 1.0), row("faster", 1.0), row("gone", 1.0)]
    now = [row("same", 1.2), row("slower", 1.5), row("faster", 0.4), row("new", 9.0)]
    found = compare.changes(then, now)
    assert [change.key[2] for change in found] == ["slower", "same", "faster"]
    assert [change.key[2] for change in compare.slower(found, 0.3)] == ["slower"]
    assert compare.slower(found, 0.6) == []
    assert str(found[0]) == "voxelize, os1-64, 0.2 m, slower: 1.50 times the committed cost"
    assert compare.incomparable(then, now) == ["voxelize, os1-64, 0.2 m, new: not among the committed results"]


def test_compare_bears_more_with_what_takes_a_millisecond() -> None:
    then, now = [row("a", median_ms=1.0)], [row("a", 1.5, median_ms=1.5)]
    found = compare.changes([*then, row("b"), row("c")], [*now, row("b"), row("c")])
    assert found[0].factor == pytest.approx(1.5)
    assert compare.slower(found, 0.3) == []
    assert [change.key[2] for change in compare.slower(found, 0.2)] == ["a"]


def test_compare_forgives_a_calibrator_that_was_disturbed() -> None:
    """The work beside one input took twice as long: its methods look cheap in that run alone."""
    steady = [row(name) for name in "abcde"]
    disturbed = [row("a", 0.5, median_ms=12.345), row("b", 0.5, median_ms=12.345), *steady[2:]]
    assert all(change.factor < 1.01 for change in compare.changes(disturbed, steady))
    found = compare.changes(disturbed, [row("a", 2.0), *steady[1:]])  # and this one did get slower
    assert [change.key[2] for change in compare.slower(found, 0.3)] == ["a"]


def test_compare_refuses_another_input() -> None:
    then, now = [row()], [row(sizes={"points": 1000})]
    assert compare.changes(then, now) == []
    assert "another" in compare.incomparable(then, now)[0]


def test_what_makes_a_comparison_worthless() -> None:
    then, now = {"cpu": "A", "cores": 2, "date": "1"}, {"cpu": "B", "cores": 2, "date": "2"}
    assert compare.unlike(then, then) == []
    assert compare.unlike(then, now) == ["cpu: B here, A in the committed results"]
    rows = [row(name, 1.0) for name in "abc"]
    fell = [row("a", 0.2), row("b", 0.3), row("c", 1.5)]
    assert compare.implausible(compare.changes(rows, fell), 0.3)
    assert not compare.implausible(compare.changes(rows, [row("a", 0.5), *rows[1:]]), 0.3)
    assert not compare.implausible([], 0.3)


def test_what_is_slow_once_is_not_slow() -> None:
    first, second = [row("a", 3.0), row("b", 1.0)], [row("a", 1.1)]
    assert [r["calibrated"] for r in compare.best_of(first, second)] == [1.1, 1.0]


@pytest.mark.parametrize("content", [None, "{", "[]", '{"format": 2}'])
def test_results_that_cannot_be_compared_are_one_line(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "cpu.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=r"cpu\.json") as error:
        compare.load(path)
    assert "\n" not in str(error.value)


def test_growth_is_drawn(tmp_path: Path) -> None:
    rows = [
        row(method, benchmark="growth", sizes={"points": points}, median_ms=points / 1e4 * (i + 1))
        for i, method in enumerate(METHODS)
        for points in (10_000, 1_000_000)
    ]
    assert plot(rows, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").read_bytes()[:4] == b"\x89PNG"
    assert not plot([row()], tmp_path / "nothing.png")


def test_peers_find_the_same_voxels() -> None:
    import torch

    from srkd_ros.geometry import voxelize

    xyz = np.random.default_rng(0).uniform(-5, 5, (3000, 3)).astype(np.float32)
    voxels = voxelize(torch.from_numpy(xyz), 0.5)
    grid, inverse = peers.voxels_by_unique(torch.from_numpy(xyz), 0.5)
    assert len(grid) == len(voxels.code)
    assert torch.equal(grid[inverse], voxels.grid[voxels.point_to_voxel])
    first, key = peers.voxels_by_key(xyz, 0.5)
    assert set(first.tolist()) == set(voxels.first_point.tolist())
    assert len(np.unique(key)) == len(grid)


def test_command_line_errors_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nothing"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: no benchmark 'nothing'; there are decode, ")
    assert len(error.splitlines()) == 1


def test_a_job_that_breaks_does_not_take_the_others_along() -> None:
    def broken() -> Group:
        raise RuntimeError("first line\nsecond line")

    good = Job("sleep", "good", lambda: Group([Case("a", lambda: None)]), seconds=0.0)
    rows, skipped = run_jobs([Job("sleep", "bad", broken), good], Settings())
    assert [r["input"] for r in rows] == ["good"]
    assert skipped == [
        {"benchmark": "sleep", "input": "bad", "method": "all", "reason": "failed with RuntimeError: first line"}
    ]


def test_judge_measures_again_what_looks_slower() -> None:
    calls: list[int] = []
    job = Job("sleep", "x", lambda: calls.append(1) or Group([Case("a", lambda: None)]), seconds=0.0)  # type: ignore[func-returns-value]
    others = [row("b"), row("c")]  # as before
    committed = [row("a", 1.0, benchmark="sleep", input="x", sizes={}), *others]
    suspect = [row("a", 5.0, benchmark="sleep", input="x", sizes={}), *others]
    assert judge(committed, suspect, [job], Settings(), 0.3) == 0  # the second time it is fast
    assert len(calls) == 1
    committed[0]["calibrated"], committed[0]["median_ms"] = 1e-9, 1e-9
    assert judge(committed, suspect, [job], Settings(), 0.3) == 1


def test_every_entry_has_jobs_and_the_quick_run_a_part_of_them() -> None:
    for name, entry in ENTRIES.items():
        jobs = entry.jobs(Settings())
        assert jobs
        assert {job.benchmark for job in jobs} == {name}
    quick = [job for entry in ENTRIES.values() for job in entry.jobs(Settings(quick=True)) if job.quick]
    assert sum(job.seconds for job in quick) / 2 < 60
