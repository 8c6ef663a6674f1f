# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Benchmarks of the whole system: `python -m benchmarks --help`. Not installed; run from the repository's root."""
