# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Play a recording into the node and look at it: ros2 launch srkd_ros replay.launch.py bag:=drive.mcap model:=FILE"""

import sys

from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
)
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from launch import LaunchContext, LaunchDescription
from srkd_ros.node.transport import profile_environment
from srkd_ros.resources import find

BOOLEANS = ["true", "false"]
# Empty ones that are parameters of the node leave these to the parameter file.
PASSED_ON = ("model", "runtime", "device", "intensity_scale", "rviz", "fixed_frame", "params_file", "log_level")


def actions(context: LaunchContext) -> list:
    def given(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    play = [given("python") or sys.executable, "-m", "srkd_ros.replay.player", given("bag"), "--clock"]
    play += ["--rate", given("rate"), "--output-topic", given("points"), "--wait", "600"]
    play += ["--topic", given("topic")] if given("topic") else []
    play += ["--loop"] if given("loop") == "true" else []
    player = ExecuteProcess(cmd=play, additional_env=profile_environment(), name="player", output="screen")
    segment = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(find("launch/segment.launch.py"))),
        launch_arguments={
            **{name: given(name) for name in PASSED_ON},
            "points": given("points"),
            "use_sim_time": "true",
        }.items(),
    )
    # The player waits until the node subscribes, that is until the model is loaded.
    end = RegisterEventHandler(
        OnProcessExit(target_action=player, on_exit=[EmitEvent(event=Shutdown(reason="the recording has ended"))])
    )
    return [segment, end, player]


def generate_launch_description() -> LaunchDescription:
    required = {
        "bag": "Recording: rosbag2 folder, .mcap, .db3, ROS 1 .bag, or anything else that srkd-replay reads.",
        "model": "Student file, .safetensors or .onnx.",
    }
    texts = {
        "topic": ("", "Cloud topic of the recording; needed where there are several."),
        "points": ("points", "Topic to play on, and the node's input."),
        "rate": ("1.0", "Times the sensor's rate."),
        "device": ("", "auto, cpu, cuda or cuda:N."),
        "intensity_scale": ("", "Raw intensity that counts as 1.0, such as 255; auto finds it."),
        "fixed_frame": ("lidar", "RViz's fixed frame: the frame_id of the clouds."),
        "params_file": (
            str(find("config/segment.yaml")),
            "Parameter file; arguments that are given come before it.",
        ),
        "python": ("", "Python with srkd_ros for the player, where it is not the one of ros2 launch."),
    }
    choices = {
        "runtime": ("", "What runs the network.", ["", "auto", "torch", "onnx", "tensorrt"]),
        "loop": ("true", "Begin again at the end; otherwise everything stops with the recording.", BOOLEANS),
        "rviz": ("true", "Show the labelled clouds in RViz.", BOOLEANS),
        "log_level": ("info", "What the node logs.", ["debug", "info", "warn", "error", "fatal"]),
    }
    return LaunchDescription(
        [
            *(DeclareLaunchArgument(name, description=text) for name, text in required.items()),
            *(DeclareLaunchArgument(n, default_value=d, description=t) for n, (d, t) in texts.items()),
            *(DeclareLaunchArgument(n, default_value=d, description=t, choices=c) for n, (d, t, c) in choices.items()),
            OpaqueFunction(function=actions),
        ]
    )
