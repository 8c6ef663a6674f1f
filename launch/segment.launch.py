# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Label a live cloud topic: ros2 launch srkd_ros segment.launch.py model:=student.safetensors points:=/lidar/points"""

import sys
from pathlib import Path

import yaml
from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchContext, LaunchDescription
from srkd_ros.node.transport import profile_environment
from srkd_ros.resources import find

BOOLEANS = ["true", "false"]

# Arguments that are parameters of the node; empty leaves the parameter to the parameter file.
PARAMETERS = {
    "model": ("Student file, .safetensors or .onnx.", None),
    "model_dir": ("Folder of the models that may be chosen while running; empty: that of the model.", None),
    "runtime": ("What runs the network.", ["", "auto", "torch", "onnx", "tensorrt"]),
    "device": ("auto, cpu, cuda or cuda:N.", None),
    "precision": ("Of matrix products in torch.", ["", "auto", "fp32", "bf16", "fp16"]),
    "threads": ("CPU threads for the network; 0: all but one.", None),
    "intensity_field": ("Field to read intensity from; auto takes the usual names.", None),
    "intensity_scale": ("Raw intensity that counts as 1.0, such as 255; auto finds it.", None),
    "keep_input_fields": ("Whether segmented carries the input's own fields too.", ["", *BOOLEANS]),
    "filter_classes": ("Classes that filtered leaves out, such as '[car, person]'.", None),
    "min_confidence": ("Points with less confidence become unlabelled.", None),
    "target_frame": ("Upright tf2 frame that clouds are turned to before labelling.", None),
    "transform_output": ("Whether segmented is published in the target frame.", ["", *BOOLEANS]),
    "sensor_height": ("Height of the sensor above the ground in metres, where it differs from training.", None),
    "sensor_rpy": ("Roll, pitch, yaw in radians that turn the sensor upright, such as '[3.14159, 0, 0]'.", None),
    "autostart": ("false leaves configuring and activating to a lifecycle manager.", ["", *BOOLEANS]),
}
TEXTS = (
    "model",
    "model_dir",
    "runtime",
    "device",
    "precision",
    "intensity_field",
    "intensity_scale",
    "target_frame",
)
TOPICS = {
    "points": ("points", "Topic of the input clouds."),
    "segmented": ("segmented", "Topic of the labelled clouds."),
    "filtered": ("filtered", "Topic of the clouds without filter_classes."),
    "label_info": ("label_info", "Topic of the class names."),
}


def executable() -> dict:
    """The installed script, which knows the Python it was built with; without an installed package, this Python."""
    try:
        if (Path(get_package_prefix("srkd_ros")) / "lib" / "srkd_ros" / "segmenter_node").is_file():
            return {"package": "srkd_ros", "executable": "segmenter_node"}
    except (PackageNotFoundError, OSError):  # not installed by colcon, or no ROS setup sourced
        pass
    return {"executable": sys.executable, "arguments": ["-m", "srkd_ros.segmenter_node"]}


def given_parameters(context: LaunchContext) -> dict:
    """Arguments that are not empty, with the types that the parameters have."""
    values: dict = {}
    for name in PARAMETERS:
        text = LaunchConfiguration(name).perform(context)
        if text == "":
            continue
        values[name] = ParameterValue(text, value_type=str) if name in TEXTS else yaml.safe_load(text)
    if "sensor_rpy" in values:
        values["sensor_rpy"] = [float(angle) for angle in values["sensor_rpy"]]
    return values


def actions(context: LaunchContext) -> list:
    def given(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    # Fast DDS's own word for its defaults; the node would choose the profile by itself otherwise.
    default_transport = {"FASTDDS_BUILTIN_TRANSPORTS": "DEFAULT"}
    transport = profile_environment() if given("transport") == "shared_memory" else default_transport
    clock = {"use_sim_time": given("use_sim_time") == "true"} if given("use_sim_time") else {}
    segmenter = LifecycleNode(
        **executable(),
        name=given("name"),
        namespace=given("namespace"),
        parameters=[part for part in (given("params_file"), clock, given_parameters(context)) if part],
        remappings=[(name, given(name)) for name in TOPICS if given(name) != name],
        ros_arguments=["--log-level", given("log_level")],
        additional_env=transport,
        respawn=given("respawn") == "true",
        respawn_delay=2.0,
        output="both",
        emulate_tty=True,
    )
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        name="rviz2",
        namespace=given("namespace"),
        arguments=["-d", given("rviz_config"), "-f", given("fixed_frame")],
        parameters=[clock] if clock else [],
        remappings=[("/segmented", given("segmented"))],
        additional_env=transport,
        condition=IfCondition(given("rviz")),
    )
    return [segmenter, rviz]


def generate_launch_description() -> LaunchDescription:
    arguments = [
        DeclareLaunchArgument(name, default_value="", description=text, choices=choices)
        if choices
        else DeclareLaunchArgument(name, default_value="", description=text)
        for name, (text, choices) in PARAMETERS.items()
    ]
    arguments += [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in {
            **TOPICS,
            "name": ("segmenter", "Name of the node."),
            "namespace": ("", "Namespace of the node and its topics."),
            "params_file": (str(find("config/segment.yaml")), "Parameter file; the arguments above come before it."),
            "rviz_config": (str(find("config/segment.rviz")), "Configuration of RViz."),
            "fixed_frame": ("lidar", "RViz's fixed frame: the frame_id of the clouds."),
        }.items()
    ]
    arguments += [
        DeclareLaunchArgument(name, default_value=default, description=text, choices=choices)
        for name, (default, text, choices) in {
            "transport": (
                "shared_memory",
                "How clouds leave the node with Fast DDS; give the driver the profile too (docs/node.md).",
                ["shared_memory", "default"],
            ),
            "use_sim_time": ("", "Take the time from /clock; empty leaves it to the parameter file.", ["", *BOOLEANS]),
            "respawn": ("false", "Start the node again if it ends.", BOOLEANS),
            "rviz": ("false", "Show the labelled clouds in RViz.", BOOLEANS),
            "log_level": ("info", "What the node logs.", ["debug", "info", "warn", "error", "fatal"]),
        }.items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=actions)])
