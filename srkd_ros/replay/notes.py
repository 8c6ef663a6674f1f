# SPDX-FileCopyrightText: 2026 The srkd_ros authors
# SPDX-License-Identifier: Apache-2.0

"""What a reader should know before trusting a run's numbers, in lines for the terminal, report and metrics.json."""

from __future__ import annotations

from typing import Any

from srkd_ros.replay.table import count, percent, plain
from srkd_ros.replay.truth_ids import UNKNOWN_LIMIT

UNLABELLED_LIMIT = 0.5  # share of the measured points without a label: the vehicle itself takes a quarter at times


def notes(document: dict[str, Any]) -> list[str]:
    """The lines that hold for a metrics.json; empty where nothing is odd."""
    given, lines = document["input"], []
    lines += [f"damaged input, evaluated up to the damage: {text}" for text in given["damage"]]
    if given["unreadable_clouds"]:
        lines.append(f"unreadable clouds: {given['unreadable_clouds']}; first: {given['first_unreadable']}")
    if given["backward_stamps"]:
        lines.append(f"clouds with a stamp before that of the cloud before them: {given['backward_stamps']}")
    if document["truth"]["unmatched_clouds"]:
        lines.append(
            f"clouds without a truth in {document['truth']['source']}: {document['truth']['unmatched_clouds']}"
        )
    for model in document["models"]:
        lines += _labelled(model) + _intensity(given, model) + _truth(document["truth"], model)
        scored = model["points"] or 0
        if scored and model["unpredicted_points"] > 0.01 * scored:
            share = percent(model["unpredicted_points"] / scored)
            lines.append(
                f"{model['name']}: {share} % of the points with a truth are out of its range and count as missed"
            )
        for name in model["drift"]["drifted"]:
            seen, trained = (model["drift"][name][k] for k in ("input", "training"))
            worst = max(trained, key=lambda q: abs(seen[q] - trained[q]))
            quantile = "median" if worst == "0.5" else f"{float(worst) * 100:g} %"
            lines.append(
                f"{model['name']}: the input's {name} is unlike the training data "
                f"({quantile} {plain(seen[worst], 2)}, training {plain(trained[worst], 2)})"
            )
    for name, live in (document["live"] or {"models": {}})["models"].items():
        if live["dropped"]:
            lines.append(f"{name}: the live node dropped {live['dropped']} of {live['published']} clouds")
    return lines


def _labelled(model: dict[str, Any]) -> list[str]:
    """Whether many points have no label, and the likely cause."""
    name, measured = model["name"], model["measured"]
    if not model["points_total"]:
        return [f"{name}: every cloud is empty: nothing was labelled"] if model["clouds"] else []
    if not measured["points"]:
        return [f"{name}: no point is finite and off the origin: nothing was labelled; was the sensor blocked?"]
    without = measured["points"] - (model["points_total"] - model["predicted"]["unlabelled"])
    if without <= UNLABELLED_LIMIT * measured["points"]:
        nothing = model["clouds"] - model["clouds_labelled"]
        return [f"{name}: no point has a label in {nothing:,} of {count(model['clouds'], 'cloud')}"] if nothing else []
    share, far, near = (percent(n / measured["points"]) for n in (without, measured["too_far"], measured["too_near"]))
    return [
        f"{name}: {share} % of the measured points have no label: {far} % lie beyond its {model['max_range_m']:g} m, "
        f"{near} % nearer than {model['min_range_m']:g} m; are the coordinates in metres?"
    ]


def _intensity(given: dict[str, Any], model: dict[str, Any]) -> list[str]:
    missing = given["clouds_without_intensity"]
    if not missing or "intensity" not in model["features"]:
        return []
    return [
        f"{model['name']}: trained with intensity, and none is read in {count(missing, 'cloud')} of "
        f"{given['clouds'] - given['unreadable_clouds']:,}; the fields are {', '.join(given['fields'])}: "
        "name one with --intensity-field, or expect weaker labels"
    ]


def _truth(truth: dict[str, Any], model: dict[str, Any]) -> list[str]:
    """Whether the truth seems to belong to another label set than the model's."""
    name, labels, lines = model["name"], model["label_set"], []
    used = {raw for of_class in model["raw_ids"] for raw in of_class}
    if truth.get("label_set") not in (None, labels) and not used <= set(truth["label_set_raw_ids"]):
        lines.append(
            f"{name}: the dataset.yaml of {truth['source']} names the label set {truth['label_set']}, "
            f"the model's is {labels}: ids mean other classes"
        )
    ids = model.get("truth_ids")
    if ids and ids["unknown"] > UNKNOWN_LIMIT * ids["points"]:
        fits = f"; they fit {' or '.join(ids['fits'])}" if ids["fits"] else "; see --truth-ids"
        lines.append(
            f"{name}: {percent(ids['unknown'] / ids['points'])} % of the points with a truth have ids that are no "
            f"{truth['ids']} ids of the label set {labels} ({', '.join(ids['unknown_ids'])}) and do not count{fits}"
        )
    return lines
