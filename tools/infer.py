"""Run a checkpoint on frames of your own.

python tools/infer.py CONFIG CHECKPOINT --info frame/info.json --out outputs

The info file (.json or .pkl) is one that mmdetection3d makes for nuScenes;
the images and point clouds lie beside it, or in samples/<CHANNEL>/ there.
No labels are needed. Writes, for each key frame, TOKEN.png (the prediction
in the images, LiDAR points and annotated boxes, from above and from
behind) and TOKEN.npz (semantics (X, Y, Z) and, where the model predicts
it, flow (X, Y, Z, 2) in m/s).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects'))

from occsplat_environment import check_environment

check_environment()

import numpy as np

import occsplat.plugin  # noqa: F401  before mmdet3d, which needs its shims
from occsplat.data.info_files import load_infos
from occsplat.data.transforms import LoadLidarPoints
from occsplat.engine import (
    build_frames,
    inference_occ,
    load_config,
    raw_views,
    user_errors,
)
from occsplat.engine.cli import (
    add_drawing_options,
    load_model,
)
from occsplat.structures import (
    LabelSpec,
    OccDataSample,
    check_writable,
    whole_file,
)
from occsplat.visualization import (
    Boxes,
    frame_sheet,
    write_png,
)


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_drawing_options(parser)
    parser.add_argument('--info', required=True, help='info file')
    return parser


def draw_frame(
    sample: OccDataSample,
    record: dict[str, Any],
    entry: dict[str, Any],
    categories: dict[str, int],
    spec: LabelSpec,
) -> np.ndarray:
    """The sheet of one frame.

    Args:
        sample: with its prediction.
        record: of the data set.
        entry: of the info file, with the annotations.
        categories: ids of the annotations' class names.
        spec: the label set of the prediction.

    Returns:
        ndarray: RGB, uint8 (H, W, 3).
    """
    images, rig = raw_views(record, sample)
    boxes = Boxes.from_instances(
        entry.get('instances', ()), record['lidar2ref'], categories, spec
    )
    points = LoadLidarPoints().transform(dict(record))['points']
    return frame_sheet(
        sample,
        images,
        rig,
        points,
        boxes,
        spec,
        record['cameras'],
        title=f'{sample.scene_name} {sample.token}'.strip(),
    )


def write_volume(path: Path, sample: OccDataSample) -> None:
    """Write the predicted volume, whole or not at all."""
    volume = dict(semantics=sample.pred_occ.numpy())
    if 'pred_flow' in sample:
        volume['flow'] = sample.pred_flow.numpy()
    with whole_file(path) as part, open(part, 'wb') as file:
        np.savez_compressed(file, **volume)


def main(argv: Sequence[str] | None = None) -> list[Path]:
    """Predict and draw every frame of the info file; returns pictures."""
    args = make_parser().parse_args(argv)
    out = Path(args.out)
    with user_errors():
        cfg = load_config(args.config, args.cfg_options)
        check_writable(out)
        frames = build_frames(cfg, Path(args.info))
        check_writable(out)
        model = load_model(cfg, args)
        content = load_infos(args.info)
        categories = content['metainfo'].get('categories', {})
        entries = {e['token']: e for e in content['data_list']}
        paths = []
        for index in range(len(frames)):
            (sample,) = inference_occ(model, [frames[index]])
            record = frames.get_data_info(index)
            sheet = draw_frame(
                sample,
                record,
                entries[sample.token],
                categories,
                LabelSpec.named(frames.label_spec),
            )
            paths.append(write_png(out / f'{sample.token}.png', sheet))
            write_volume(paths[-1].with_suffix('.npz'), sample)
            print(f'[{index + 1}/{len(frames)}] {paths[-1]}')
    return paths


if __name__ == '__main__':
    main()
