# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""A Rerun recording of a run: each cloud coloured by prediction, truth, error and confidence, on the stamps' time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from srkd_ros import pointcloud2
from srkd_ros.errors import CloudError, MissingPackageError
from srkd_ros.replay import birdseye
from srkd_ros.replay.truth_ids import class_ids

if TYPE_CHECKING:
    from srkd_ros.replay.pipeline import Run

_MOST_CLOUDS = 600  # of a recording: beyond it, every k-th, or the viewer's memory is gone


def sdk() -> Any:
    """The Rerun SDK; MissingPackageError with the command that installs it."""
    try:
        import rerun
    except ImportError as error:
        raise MissingPackageError("--rerun needs the Rerun SDK: pip install 'srkd_ros[viz]'") from error
    return rerun


def show(run: Run, file: str) -> None:
    """Save the recording to `file`, or open the viewer where it is "". Labels are computed again, not read."""
    rr = sdk()
    rr.init("srkd-replay", spawn=not file)
    if file:
        rr.save(file)
    rr.log("/", rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
    for model in run.models:
        rr.log(
            f"/{model.name}",
            rr.AnnotationContext(
                [(i, c.name, c.color) for i, c in enumerate(model.labels.classes)] + [(255, "unlabelled", (70, 70, 70))]
            ),
            static=True,
        )
    step = max(1, run.state.done // _MOST_CLOUDS)
    for number, cloud in enumerate(run.source):
        if number % step:
            continue
        try:
            message = cloud.message()
            points = pointcloud2.read(message, run.options.intensity_field)
            values = run.truth(cloud, message)
            outputs = [model.labeller(cloud, message, points) for model in run.models]
        except CloudError:
            continue
        rr.set_time("stamp", timestamp=cloud.stamp * 1e-9)
        seen = np.isfinite(points.xyz).all(1)
        for model, output in zip(run.models, outputs, strict=True):
            if output is None:
                continue
            xyz, labels = points.xyz[seen], output.labels[seen]
            rr.log(f"/{model.name}/prediction", rr.Points3D(xyz, class_ids=labels))
            colors = birdseye.by_confidence(labels, output.confidence[seen])
            rr.log(f"/{model.name}/confidence", rr.Points3D(xyz, colors=colors))
            if values is not None:
                truth = class_ids(values, run.truth.ids, model.labels)[seen]
                rr.log(f"/{model.name}/truth", rr.Points3D(xyz, class_ids=truth))
                rr.log(f"/{model.name}/error", rr.Points3D(xyz, colors=birdseye.by_error(labels, truth)))
    rr.disconnect()  # the file is whole from here on
