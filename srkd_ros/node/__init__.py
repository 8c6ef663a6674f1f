# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""The parts of the ROS 2 node: worker, stream statistics, drift, frames, parameters, subscription, diagnostics."""
