# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""Errors a user can mend: one sentence that names the thing and the fix. Commands print it and exit with status 2."""


class SrkdError(Exception):
    """Base of every error that is the input's fault, not the program's. Its text is one line."""


class CloudError(SrkdError):
    """A PointCloud2 message that cannot be read: names the field or the size that is wrong."""


class ModelError(SrkdError):
    """A student, checkpoint or engine file that is missing, damaged, or of another format or architecture."""


class DataError(SrkdError):
    """A dataset folder, scan or bag that is missing, damaged, or not what it was said to be."""


class ConfigError(SrkdError):
    """A setting that is unknown, of the wrong type, or impossible: names the key."""


class MissingPackageError(SrkdError):
    """An optional package is needed: the text carries the command that installs it."""
