# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Package of both halves: an ament_python package for colcon, and an ordinary one for pip."""

import platform
import re
import runpy
from glob import glob
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

NAME = "srkd_ros"
VERSION = re.search(r'__version__ = "(.+?)"', Path("srkd_ros/__init__.py").read_text()).group(1)

ROS_MESSAGES = ["sensor-msgs", "diagnostic-msgs", "lifecycle-msgs", "rosgraph-msgs", "rcl-interfaces", "std-msgs"]
EXTRAS = {
    # rclpy from wheels, for machines without ROS. With ROS installed, do not use it: package.xml names the same.
    "ros": ["ros-jazzy-rclpy[fastrtps]"] + [f"ros-jazzy-{name}" for name in ROS_MESSAGES],
    "onnx": ["onnxruntime>=1.18"],
    "tensorrt": ["tensorrt>=10"],
    "tensorrt-rtx": ["tensorrt_rtx_cu13_libs==1.7.1.*", "tensorrt_rtx_cu13_bindings==1.7.1.*"],
    "train": [
        "embreex>=4.4,<5; platform_machine == 'x86_64'",
        "jsonargparse>=4.49",
        "lightning>=2.6,<3",
        "onnx>=1.16",
        "onnxscript>=0.5",
        "tensorboard>=2.15",
        "torch>=2.7",
    ],
    # spconv has wheels for x86-64 alone; the robot never needs it.
    "cu120": ["spconv-cu120==2.3.6; python_version < '3.12'"],
    "cu126": ["spconv-cu126==2.3.8"],
    # Our GPU kernels are in Triton. torch's CUDA wheels for x86-64 bring it; tests use it without a GPU.
    "triton": ["triton>=3.3; platform_system == 'Linux'"],
    "viz": ["rerun-sdk>=0.20"],
    "test": [
        "colcon-ros>=0.4",
        "hypothesis>=6",
        "mypy>=1.10",
        "onnxruntime>=1.18",
        "pre-commit>=3",
        "pytest>=8",
        "ruff>=0.6",
    ],
}


def share(*folders: str) -> list:
    """data_files entries that install whole folders below share/srkd_ros."""
    files = [path for folder in folders for path in glob(f"{folder}/**/*", recursive=True) if Path(path).is_file()]
    return [(f"share/{NAME}/{Path(path).parent}", [path]) for path in sorted(files)]


def kernels() -> list:
    """The C++ kernels (srkd_ros.native), once for each kind of processor. Without a compiler they are left out."""
    folder = Path("srkd_ros/native")
    shared = runpy.run_path(str(folder / "sources.py"))  # an import would need torch
    files, made_of = shared["source_files"](folder), shared["sources_hash"](folder)
    flags = ["-O3", "-std=gnu++17", "-fno-exceptions", "-fno-rtti", "-fno-math-errno", "-ffp-contract=fast", "-g0"]
    avx512 = ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma"]
    kinds = {"avx512bf16": [*avx512, "-mavx512bf16"], "avx512": avx512, "avx2": ["-mavx2", "-mfma"]}
    if platform.machine() not in ("x86_64", "AMD64"):
        kinds = {"generic": []}
    return [
        Extension(
            f"srkd_ros.native._{kind}",
            [str(path) for path in files if path.suffix == ".cpp"],
            define_macros=[("SRKD_SOURCES", f'"{made_of}"')],
            depends=[str(path) for path in files if path.suffix == ".h"],
            extra_compile_args=[*flags, *instructions],
            language="c++",
            optional=True,
        )
        for kind, instructions in kinds.items()
    ]


class BuildKernels(build_ext):
    """Every kind in a folder of its own: they are made from the same sources, by default into the same object files."""

    def build_extension(self, ext: Extension) -> None:
        common, self.build_temp = self.build_temp, f"{self.build_temp}/{ext.name}"
        super().build_extension(ext)
        self.build_temp = common


setup(
    name=NAME,
    version=VERSION,
    description="Real-time LiDAR semantic segmentation with distilled point transformers, for training and ROS 2",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["srkd_ros", "srkd_ros.*", "srkd_train", "srkd_train.*"]),
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        *share("launch", "config"),
    ],
    install_requires=[
        "matplotlib>=3.7",
        "numpy>=1.23",
        "pillow>=9",
        "pyyaml>=6",
        "rich>=13",
        "rosbags>=0.10",
        "safetensors>=0.4",
        "torch>=2.4",
    ],
    extras_require=EXTRAS,
    ext_modules=kernels(),
    cmdclass={"build_ext": BuildKernels},
    options={"build_ext": {"force": True}},  # by dates of files, kernels of other sources would stay
    zip_safe=False,
    entry_points={
        "console_scripts": [
            "segmenter_node = srkd_ros.segmenter_node:main",
            "srkd-replay = srkd_ros.replay.cli:main",
            "srkd-train = srkd_train.cli:main",
        ]
    },
)
