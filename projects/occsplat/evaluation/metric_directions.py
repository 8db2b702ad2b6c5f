"""Which way of each metric is better: the one table of it."""

from __future__ import annotations

#: by key, as in docs/metrics.md: 1 higher is better, -1 lower is better,
#: 0 neither by itself
DIRECTIONS_OF_METRICS = {
    'RayIoU': 1,
    'RayPQ': 1,
    'RaySQ': 1,
    'RayRQ': 1,
    'mAVE': -1,
    'mAVE_TP': -1,
    'OccScore': 1,
    'mIoU': 1,
    'IoU': 1,
    'visible_mIoU': 1,
    'visible_IoU': 1,
    'image_mIoU': 1,
    'image_IoU': 1,
    'image_depth_L1': -1,
    'bev_mIoU': 1,
    'bev_IoU': 1,
    'FalseBehind': -1,
    'FalseBefore': -1,
    'Runs': 0,
    'GhostRate': 0,
    'Thickness': 0,
    'tau': 0,
    'OffsetError': -1,
    'Completeness': 1,
    'Found': 1,
    'BoundaryIoU': 1,
    'BoxRecall': 1,
    'BoxPrecision': 1,
    'BoxIoU': 1,
    'depth_L1': -1,
    'depth_close': 1,
    'pixel_mIoU': 1,
}


def metric_direction(key: str) -> int | None:
    """Whether more of a metric is better.

    Args:
        key: as ``metrics.json`` has it. Prefixes (``camera/mIoU``), classes
            (``mIoU_car``), ranges (``depth_L1_0-10``) and thresholds
            (``RayIoU@1``) change nothing.

    Returns:
        int | None: 1 where higher is better, -1 where lower is better, 0
        for metrics that are a detail and no score; None for a metric that
        is not one of OccSplat's.
    """
    name = key.rpartition('/')[2]
    fitting = [
        known
        for known in DIRECTIONS_OF_METRICS
        if name == known or name.startswith((f'{known}_', f'{known}@'))
    ]
    # mAVE_TP_car is of mAVE_TP, not of mAVE
    return DIRECTIONS_OF_METRICS[max(fitting, key=len)] if fitting else None
