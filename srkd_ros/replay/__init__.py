# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""srkd-replay: recordings in; labelled bag, metrics and report out. `pipeline.replay` is where a run is to be read."""
