# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The ROS 2 lifecycle node: PointCloud2 in, labelled PointCloud2 out.

    python -m srkd_ros.segmenter_node --ros-args -p model:=student.safetensors -r points:=/lidar/points

The executor's threads only store the newest cloud; one worker thread labels it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import DurabilityPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import PointCloud2

from srkd_ros.background import in_background
from srkd_ros.errors import CloudError, ConfigError, MissingPackageError, SrkdError
from srkd_ros.node import label_info, settings
from srkd_ros.node.newest import NewestWorker
from srkd_ros.node.parameters import Parameters
from srkd_ros.node.subscription import CloudSubscription, naming_override
from srkd_ros.node.tally import Arrival, Tally
from srkd_ros.node.target_frame import TargetFrame
from srkd_ros.node.transitions import answer_always
from srkd_ros.node.watch import Watch, one_line

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
QUIET = 5.0  # seconds between two lines of the same kind in the log
OUTPUT_POLICIES = (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY, QoSPolicyKind.DURABILITY)


class SegmenterNode(LifecycleNode):
    """Subscribes `points`; publishes `segmented`, `filtered`, `label_info` and `/diagnostics`.

    Any number of nodes in a process will do, best in a CloudExecutor: clouds flow on while another model is loaded.
    `startup_failed` is called with the reason if autostart does not succeed.
    """

    def __init__(self, startup_failed: Callable[[str], None] = lambda reason: None, **kwargs: Any) -> None:
        super().__init__("segmenter", **kwargs)
        self.work: Any = None  # srkd_ros.node.work.Work; that module imports torch, which takes seconds
        self._worker: NewestWorker[Arrival] | None = None
        self.subscription: CloudSubscription | None = None
        self._target: TargetFrame | None = None
        self.outputs: list[Any] = []
        self.tally = Tally()
        self.state = "unconfigured"
        self.refused_model = ""
        self._startup_failed = startup_failed
        self._clouds_group = MutuallyExclusiveCallbackGroup()
        answer_always(self)
        self._settable = Parameters(self, self._change, self._change_refused)
        self._watch = Watch(self)
        if self._settable["autostart"]:
            steady = Clock(clock_type=ClockType.STEADY_TIME)  # simulated time may stand still
            self._start_timer = self.create_timer(0.0, self._autostart, clock=steady)

    # Lifecycle -------------------------------------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the student, warm it up, and offer the output topics."""
        return self._transition("inactive", self._configure, state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Publish the class map and subscribe."""
        return self._transition("active", self._activate, state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe; the model stays."""
        return self._transition("inactive", self._deactivate, state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model and the GPU."""
        return self._transition("unconfigured", lambda _: self._free(), state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything; nothing starts again after this."""
        return self._transition("finalized", lambda _: self._free(), state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Back to unconfigured, from where the node can be configured again."""
        return self._transition("unconfigured", lambda _: self._free(), state)

    def _transition(
        self, goal: str, step: Callable[[LifecycleState], object], state: LifecycleState
    ) -> TransitionCallbackReturn:
        """Errors of the user's making leave the state as it was; rclpy would swallow others without a word."""
        try:
            step(state)
        except Exception as error:
            foreseen = isinstance(error, SrkdError)
            self.tally.last_error = str(error) if foreseen else one_line(error)
            if self.work is None:
                self.refused_model = self.tally.last_error
            self.get_logger().error(f"{'' if foreseen else f'cannot become {goal}: '}{self.tally.last_error}")
            return FAILURE if foreseen else TransitionCallbackReturn.ERROR
        self.state = goal
        return SUCCESS

    def _autostart(self) -> None:
        self._start_timer.cancel()
        if self.state != "unconfigured":
            return
        if self.trigger_configure() != SUCCESS or self.trigger_activate() != SUCCESS:
            self._startup_failed(self.tally.last_error)

    def _configure(self, state: LifecycleState) -> None:
        chosen, path = self._settable.settings(), self._settable.model_path()
        topic = self.resolve_topic_name("points")
        for output in ("segmented", "filtered"):
            if topic == self.resolve_topic_name(output):
                raise ConfigError(
                    f"points and {output} are both {topic}: the node would label its own clouds; remap one"
                )
        if chosen.target_frame:
            self._target = TargetFrame(self, chosen.target_frame)
        self._worker = NewestWorker(self._process, self._process_failed, f"{self.get_name()} worker")
        self.get_logger().info(f"loading {path}")
        start = time.perf_counter()
        try:
            self.work = self._worker.call(lambda: self._load(path, chosen))
            self._offer_outputs()
        except Exception:
            self._free()
            raise
        self.refused_model = ""
        segmenter = self.work.segmenter
        self.get_logger().info(
            f"{path.name}: {len(segmenter.labels)} classes, {segmenter.runtime} ({segmenter.runtime_reason}) on "
            f"{segmenter.device}, ready in {time.perf_counter() - start:.1f} s"
        )

    def _offer_outputs(self) -> None:
        clouds = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
        latched = QoSProfile(
            depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
        )
        self._segmented = self._offer(PointCloud2, "segmented", clouds)
        self._filtered = self._offer(PointCloud2, "filtered", clouds)
        self._label_info = self._offer(label_info.MESSAGE_TYPE, "label_info", latched)

    def _offer(self, message_type: type, topic: str, qos: QoSProfile) -> Any:
        with naming_override(self.resolve_topic_name(topic), "publisher"):
            publisher = self.create_lifecycle_publisher(
                message_type, topic, qos, qos_overriding_options=QoSOverridingOptions(OUTPUT_POLICIES)
            )
        self.outputs.append(publisher)
        return publisher

    def _load(self, path: Path, chosen: settings.Settings) -> Any:
        try:
            import torch

            from srkd_ros.node.work import load
        except ImportError as error:  # typically the system's Python, which built the package, and torch in another
            raise MissingPackageError(
                f"{error.name} is not installed for {sys.executable}: install it there, or build the package with the "
                "Python that has it (python -m colcon build)"
            ) from error
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        torch.set_num_threads(settings.thread_count(self._settable["threads"], cores))
        runtime, device, precision = (self._settable[name] for name in ("runtime", "device", "precision"))
        return load(path, runtime, device, precision, chosen)

    def _activate(self, state: LifecycleState) -> None:
        super().on_activate(state)
        self.tally = Tally()
        self.work.monitor.clear()
        self._publish_label_info()
        try:
            self.subscription = CloudSubscription(self, "points", self._on_cloud, self._on_lost, self._clouds_group)
        except Exception:
            super().on_deactivate(state)
            raise

    def _deactivate(self, state: LifecycleState) -> None:
        self._unsubscribe()
        super().on_deactivate(state)

    def _unsubscribe(self) -> None:
        if self.subscription is not None:
            self.subscription.close()
            self.subscription = None
        if self._worker is not None:
            self._worker.clear()

    def _free(self, patience: float = 10.0) -> bool:
        """Let go of all that configuring made; False if the worker is still busy after `patience` seconds."""
        self._unsubscribe()
        ended = self._worker.stop(patience) if self._worker is not None else True
        self._worker = None
        loaded, self.work = self.work is not None, None
        if self._target is not None:
            self._target.close()
            self._target = None
        for publisher in self.outputs:
            self.destroy_lifecycle_publisher(publisher)
        self.outputs = []
        if loaded and sys.modules["torch"].cuda.is_initialized():
            _empty_cache()
        return ended

    def close(self, patience: float) -> bool:
        """Stop all work, whatever the state; False if the current cloud takes longer than `patience` seconds."""
        return self._free(patience)

    # Clouds ----------------------------------------------------------------------------------------------------------

    def _on_cloud(self, message: PointCloud2) -> None:
        worker = self._worker
        if worker is None:
            return
        now = time.perf_counter()
        self.tally.arrived(message, now)
        before = worker.dropped
        worker.put(Arrival(message, now))
        if worker.dropped > before:
            self.tally.replaced.tick(now)

    def _on_lost(self, count: int) -> None:
        now = time.perf_counter()
        for _ in range(min(count, 1000)):
            self.tally.lost.tick(now)

    def _process(self, arrival: Arrival) -> None:
        """Label one cloud, in the worker's thread."""
        work, tally, message = self.work, self.tally, arrival.message
        segmented = self._segmented.get_subscription_count() > 0
        filtered = self._filtered.get_subscription_count() > 0
        if not segmented and not filtered:
            tally.idle += 1
            return
        self._follow_stream(work, tally, message)
        start = time.perf_counter()
        to_target = self._target.pose(message.header) if self._target is not None else None
        labelled = work.label(message, to_target)
        labelling = time.perf_counter()
        if segmented:
            self._segmented.publish(work.segmented(message, labelled, to_target))
        if filtered:
            self._filtered.publish(work.filtered(message, labelled))
        end = time.perf_counter()

        timings = {"wait": (start - arrival.received) * 1e3, **labelled.timings, "publish": (end - labelling) * 1e3}
        timings["total"] = (end - arrival.received) * 1e3
        simulated = self.get_parameter("use_sim_time").value
        tally.labelled(message, labelled, timings, self.get_clock().now().nanoseconds, simulated, end)

    def _follow_stream(self, work: Any, tally: Tally, message: PointCloud2) -> None:
        """Another layout or frame, activation or choice of field: what was found out about the stream holds no more."""
        layout, frame = tuple((f.name, f.datatype) for f in message.fields), message.header.frame_id
        wanted = work.settings.intensity_field
        if (layout, wanted) != (tally.layout, tally.wanted_field):
            tally.frames.clear()
        if frame not in tally.frames:
            if tally.layout:
                text = f"another stream, of {frame or 'no frame'}, fields {', '.join(name for name, _ in layout)}"
                self.get_logger().info(text, throttle_duration_sec=QUIET)
            work.monitor.clear()
            work.segmenter.reset_stream()
        tally.frames.add(frame)  # of several that share a topic, each is another stream but once
        tally.layout, tally.wanted_field = layout, wanted

    def _process_failed(self, error: Exception) -> None:
        """A cloud could not be labelled: say so, and go on with the next."""
        now = time.perf_counter()
        if isinstance(error, CloudError):
            self.tally.refused.tick(now)
            self.tally.last_error = str(error)
            self.get_logger().warning(f"cloud refused: {error}", throttle_duration_sec=QUIET)
            return
        self.tally.failed.tick(now)
        self.tally.last_error = one_line(error)
        if _out_of_memory(error):
            _empty_cache()
            self.tally.last_error = "out of memory, cloud dropped: choose a smaller student, or device:=cpu"
        self.get_logger().error(f"cloud dropped: {self.tally.last_error}", throttle_duration_sec=QUIET)

    # Parameters ------------------------------------------------------------------------------------------------------

    def _change(self, changed: Mapping[str, Any]) -> None:
        """Put into force at once. A model is loaded here, so that the answer says whether it runs."""
        chosen = self._settable.settings(changed)
        work = self.work
        for name in changed:
            if work is not None and settings.PARAMETERS[name].configured:
                raise ConfigError(f"{name}: takes effect when the node is configured; clean it up first")
        if "model" in changed:
            path = self._settable.model_path(changed)
            if work is not None:
                work = in_background(lambda: self._load(path, chosen))
                self.get_logger().info(f"{path.name} runs now instead of {self.work.segmenter.path.name}")
            self.refused_model = ""
        elif work is not None:
            from srkd_ros.node.work import Work

            work = Work.make(work.segmenter, chosen)
            if "intensity_scale" in changed:
                work.segmenter.intensity_scale = chosen.intensity_scale
        self.work = work
        if work is not None and self.state == "active" and changed.keys() & {"model", "min_confidence"}:
            self._publish_label_info()

    def _change_refused(self, changed: Mapping[str, Any], reason: str) -> None:
        if "model" in changed:
            self.refused_model = reason

    def _publish_label_info(self) -> None:
        work = self.work
        stamp = self.get_clock().now().to_msg()
        self._label_info.publish(label_info.message(work.segmenter.labels, work.settings.min_confidence, stamp))


def _empty_cache() -> None:
    from srkd_ros.gpu.capture import empty_cache

    empty_cache()


def _out_of_memory(error: Exception) -> bool:
    torch = sys.modules["torch"]
    return isinstance(error, MemoryError | torch.cuda.OutOfMemoryError) or "out of memory" in str(error).lower()


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; exit status 0, or 2 with one line if it cannot start."""
    if {"-h", "--help"} & set(sys.argv[1:] if args is None else args):
        print(f"{__doc__}\nParameters, with defaults (docs/node.md tells more):")
        for name, parameter in settings.PARAMETERS.items():
            print(f"  {name:18} {parameter.default!r:18} {parameter.description}")
        return 0
    from srkd_ros.node.process import run

    return run(SegmenterNode, args)


if __name__ == "__main__":
    sys.exit(main())
