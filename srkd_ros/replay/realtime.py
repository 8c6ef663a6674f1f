# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The live mode: a player process, the real node as a process, and a recorder here, over real ROS 2 topics."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from srkd_ros.errors import MissingPackageError, SrkdError
from srkd_ros.metrics import Percentiles
from srkd_ros.replay.labelled_bag import LabelledBag
from srkd_ros.replay.labeller import Live
from srkd_ros.replay.source import Selection, open_source
from srkd_ros.replay.storage import open_bag

if TYPE_CHECKING:
    from srkd_ros.replay.pipeline import Run
    from srkd_ros.replay.recorder import Recorder

_START_SECONDS = 120.0  # for the node to load its model
_QUIET_SECONDS = 3.0  # without an answer after the last cloud: the rest was dropped

Received = Callable[[int, bytes], None]


@dataclass
class LiveResult:
    """What came back from the node. Latencies are from the player's publish call to the arrival here, in ms."""

    published: int = 0
    received: int = 0
    duplicates: int = 0
    rate_hz: float = 0.0  # of publishing
    latency_ms: dict[int, float] = field(default_factory=dict)  # header stamp in ns -> latency
    missing: set[int] = field(default_factory=set)  # stamps that were published and never came back
    refused: set[int] = field(default_factory=set)  # those of `missing` whose clouds nobody can read
    node_memory_mb: float | None = None  # peak resident memory of the node's process

    @property
    def dropped(self) -> int:
        """Clouds that the node could have labelled and did not."""
        return len(self.missing) - len(self.refused)

    def refuse(self, stamp: int) -> None:
        """The cloud of this stamp is no drop: it cannot be read."""
        if stamp in self.missing:
            self.refused.add(stamp)

    def percentiles(self) -> dict[str, float | None]:
        percentiles = Percentiles()  # as of all latencies of metrics.json
        for value in self.latency_ms.values():
            percentiles.add(value)
        return percentiles.to_dict()

    def to_dict(self) -> dict[str, Any]:
        return {
            "published": self.published,
            "received": self.received,
            "dropped": self.dropped,
            "refused": len(self.refused),
            "duplicates": self.duplicates,
            "rate_hz": self.rate_hz,
            "end_to_end_ms": self.percentiles(),
            "node_memory_mb": self.node_memory_mb,
        }


def go_live(run: Run, console: Console) -> None:
    """Play the run's inputs through the node once for each model; run.label then reads what came back."""
    options = run.options
    results: list[LiveResult] = []
    bag = LabelledBag(run.folder, {m.topic: m.labels for m in run.models})
    for model in run.models:
        scale = model.segmenter.intensity_scale
        same = ("runtime", "device", "precision", "intensity_field")
        parameters = {name: getattr(options, name) for name in same}
        with console.status(f"{escape(model.name)}: playing to the live node") as status:
            result = live_run(
                options.inputs,
                model.segmenter.path,
                topic=run.source.inputs[0].topic if options.topic else None,
                rate=options.rate,
                selection=options.selection,
                parameters={**parameters, "intensity_scale": str(scale)},
                received=partial(bag.write, model.topic),
                progress=partial(_show, status, model.name),
                log_folder=run.folder,
            )
        results.append(result)
    bag.close()
    run.state.parts = bag.parts
    for model, result in zip(run.models, results, strict=True):
        model.labeller = Live(open_bag(bag.path), model.topic, result.latency_ms)
    run.live = {m.name: r for m, r in zip(run.models, results, strict=True)}


def _show(status: Status, name: str, published: int, received: int) -> None:
    status.update(f"{escape(name)}: {published} played, {received} came back")


def live_run(
    bag: Path | Sequence[Path],
    model: Path,
    topic: str | None = None,
    rate: float = 1.0,
    selection: Selection | None = None,
    parameters: Mapping[str, Any] | None = None,
    received: Received | None = None,
    progress: Callable[[int, int], None] | None = None,
    log_folder: Path | None = None,
) -> LiveResult:
    """Play a recording through the real node and measure what comes back.

    bag: any inputs of srkd-replay; rate: times the sensor's; parameters: of the node besides `model`; received: called
    with (stamp in ns, serialised PointCloud2) for each labelled cloud; progress: with (published, received) now and
    then; log_folder: for node.log and player.log. Raises SrkdError with the node's own words if it does not start.
    """
    paths = [bag] if isinstance(bag, Path) else list(bag)
    selection = selection or Selection()
    open_source(paths, topic, selection)  # wrong input fails here, before anything starts
    folder = log_folder or Path(os.environ.get("TMPDIR", "/tmp"))
    namespace = f"/srkd_replay_{os.getpid()}"
    published_log = folder / f".published_{os.getpid()}"
    with ExitStack() as stack:
        recorder = stack.enter_context(_recorder(f"{namespace}/segmented", received))
        stack.callback(published_log.unlink, missing_ok=True)
        values = {"model": str(model), **(parameters or {})}
        settings = [x for k, v in values.items() for x in ("-p", f"{k}:={_yaml(v)}")]
        arguments = ["--ros-args", "-r", f"__ns:={namespace}", *settings]
        node = stack.enter_context(_process("srkd_ros.segmenter_node", arguments, folder / "node.log"))
        _wait_for_node(recorder, f"{namespace}/points", node, folder / "node.log")
        arguments = [*map(str, paths), *_player_options(topic, rate, selection)]
        arguments += ["--output-topic", f"{namespace}/points", "--log", str(published_log)]
        player = stack.enter_context(_process("srkd_ros.replay.player", arguments, folder / "player.log"))
        _record(recorder, player, node, published_log, folder / "node.log", progress)
        if player.returncode != 0:
            raise SrkdError(_last_error(folder / "player.log", "the player"))
        result = _result(recorder, _published(published_log))
        result.node_memory_mb = _peak_memory(node.pid)
        return result


def _wait_for_node(recorder: Recorder, points: str, node: subprocess.Popen, log: Path) -> None:
    """Until the node has loaded its model and is active."""
    end = time.monotonic() + _START_SECONDS
    while not recorder.node_is_active(points):
        recorder.spin(0.1)
        if node.poll() is not None:
            raise SrkdError(_last_error(log, "the node"))
        if time.monotonic() > end:
            raise SrkdError(f"the node was not ready after {_START_SECONDS:.0f} s: see {log}")


def _record(
    recorder: Recorder,
    player: subprocess.Popen,
    node: subprocess.Popen,
    published: Path,
    log: Path,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Until every cloud has come back, or none has for a while after the player ended."""
    ended, shown = None, 0.0
    while True:
        recorder.spin(0.1)
        now = time.monotonic()
        if progress and now - shown > 0.3:
            progress(len(_published(published)), len(recorder.arrived))
            shown = now
        if node.poll() is not None:
            raise SrkdError(f"the node ended with status {node.returncode} while clouds were played: see {log}")
        if ended is None and player.poll() is not None:
            ended = now
        if ended is not None:
            sent = _published(published)
            longest = max((recorder.arrived[s] - t for s, t in sent if s in recorder.arrived), default=0) * 1e-9
            quiet = now - max(recorder.last, ended)
            if len(recorder.arrived) >= len({s for s, _ in sent}) or quiet > max(_QUIET_SECONDS, 3 * longest):
                return


def _result(recorder: Recorder, published: list[tuple[int, int]]) -> LiveResult:
    sent = dict(published)
    latency = {s: (recorder.arrived[s] - t) * 1e-6 for s, t in sent.items() if s in recorder.arrived}
    times = sorted(sent.values())
    span = (times[-1] - times[0]) * 1e-9 if len(times) > 1 else 0.0
    return LiveResult(
        published=len(sent),
        received=len(latency),
        duplicates=recorder.duplicates,
        rate_hz=(len(times) - 1) / span if span else 0.0,
        latency_ms=latency,
        missing=set(sent) - set(recorder.arrived),
    )


@contextmanager
def _recorder(topic: str, received: Received | None) -> Iterator[Recorder]:
    """A recorder on a ROS domain of its own on this machine, unless the user has chosen one."""
    os.environ.setdefault("ROS_DOMAIN_ID", str(20 + os.getpid() % 80))
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    try:
        from srkd_ros.replay.recorder import Recorder
    except ImportError as error:
        raise MissingPackageError(
            f"--realtime needs rclpy ({error}): source a ROS 2 installation, or pip install 'srkd_ros[ros]'"
        ) from error
    recorder = Recorder(topic, received)
    try:
        yield recorder
    finally:
        recorder.close()


@contextmanager
def _process(module: str, arguments: Sequence[str], log: Path) -> Iterator[subprocess.Popen]:
    """A Python module as a process with its output in `log`; ended by SIGINT, then by force."""
    from srkd_ros.node.transport import profile_environment

    environment = {**os.environ, **profile_environment(), "PYTHONUNBUFFERED": "1"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # Ctrl-C is ours to pass on
        )
    try:
        yield process
    finally:
        for number, patience in ((signal.SIGINT, 5.0), (signal.SIGKILL, 5.0)):
            if process.poll() is None:
                process.send_signal(number)
                try:
                    process.wait(patience)
                except subprocess.TimeoutExpired:
                    continue


def _player_options(topic: str | None, rate: float, s: Selection) -> list[str]:
    options = ["--rate", str(rate), "--start", str(s.start), "--every", str(s.every)]
    options += ["--topic", topic] if topic else []
    options += ["--end", str(s.end)] if s.end != float("inf") else []
    options += ["-n", str(s.limit)] if s.limit is not None else []
    return options


def _peak_memory(process: int) -> float | None:
    """Peak resident memory of a process in MB, where the system tells."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1.024e-3 for line in lines if line.startswith("VmHWM:")), None)


def _published(log: Path) -> list[tuple[int, int]]:
    """(stamp, monotonic ns) of each cloud that the player has sent."""
    if not log.is_file():
        return []
    lines = (line.split() for line in log.read_text().splitlines())
    return [(int(parts[0]), int(parts[1])) for parts in lines if len(parts) == 2]


def _last_error(log: Path, who: str) -> str:
    """What a process said last, after "error:" where it said that."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line.split("error:", 1)[1].strip() for line in lines if "error:" in line]
    return errors[-1] if errors else f"{who} did not run: {lines[-1] if lines else 'it said nothing'}"


def _yaml(value: Any) -> str:
    """A parameter as YAML: text in quotes, so that "255" stays text."""
    return f'"{value}"' if isinstance(value, str) else str(value)
