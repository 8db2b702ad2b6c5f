"""Metrics on disk, of the whole set and frame by frame."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any, Mapping, Sequence

from occsplat.structures.files import whole_file

from .count_metric import CountMetric


def write_metrics(
    path: Path, metrics: Mapping[str, Any], about: Mapping[str, Any]
) -> None:
    """Write metrics as JSON, whole or not at all; nan becomes null.

    Args:
        path: the file; folders are made as needed.
        metrics: by name.
        about: what they are of, put before them.
    """
    clean = {
        key: None if math.isnan(value) else value
        for key, value in sorted(metrics.items())
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part:
        part.write_text(
            json.dumps(dict(about, metrics=clean), indent=2) + '\n',
            encoding='utf-8',
        )


def write_frame_table(
    path: Path, metrics: Sequence[CountMetric], scenes: Mapping[str, str]
) -> None:
    """Write metrics of each frame as CSV, whole or not at all.

    Args:
        path: the file; folders are made as needed.
        metrics: with their frames counted, before ``evaluate`` which
            forgets them.
        scenes: name of the scene by token, of the frames to write.
    """
    rows: dict[str, dict[str, str | float]] = {
        token: dict(token=token, scene=scene)
        for token, scene in scenes.items()
    }
    for metric in metrics:
        for token, scores in metric.frame_scores().items():
            rows[token].update(scores)
    # a metric has the same keys for every frame
    columns = list(next(iter(rows.values()), {}))
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part:
        with open(part, 'w', newline='', encoding='utf-8') as file:
            table = csv.DictWriter(file, columns, lineterminator='\n')
            table.writeheader()
            for row in rows.values():
                table.writerow(
                    {
                        key: '' if value != value else value
                        for key, value in row.items()
                    }
                )
