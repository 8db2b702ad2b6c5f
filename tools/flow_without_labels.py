"""Learn flow from the occupancy of other key frames, and write a table.

python tools/flow_without_labels.py --root data/minitown --seeds 0 1

VoxelSplat (CVPR 2025) says that flow can be learned from the labels of
adjacent frames. Apart from perception: a small network sees the labelled
occupancy of movable classes, now and half a second ago, from above, and
predicts a flow for each column. It is trained on the training scenes by
VoxelSplatHead with AdjacentMotion alone, without a flow label, and scored
on the validation scenes, whose occupancy it is given: mAVE_TP. With it go a
network trained on flow labels, one for which time runs backwards, and no
flow at all.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Callable, Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects'))

from occsplat_environment import check_environment

check_environment()

import torch
from mmengine.registry import init_default_scope
from torch import Tensor, nn

import occsplat.plugin  # noqa: F401  before mmdet3d, which needs its shims
from occsplat.data import NuScenesOccDataset
from occsplat.engine import check_file, limit_threads, user_errors
from occsplat.evaluation import RayIoUMetric
from occsplat.models.losses import flow_l1_loss
from occsplat.models.render_heads import VoxelSplatHead
from occsplat.structures import (
    LabelSpec,
    OccBatch,
    OccDataSample,
    OccPrediction,
    VoxelGrid,
    transform_points,
)
from occsplat.structures.files import whole_file

GRID = VoxelGrid(range=(-40, -40, -1, 40, 40, 5.4), shape=(100, 100, 8))
SPEC = LabelSpec.named('openocc')
#: what the table shows, in m/s
COLUMNS = ('mAVE_TP', 'mAVE_TP_car', 'mAVE_TP_truck', 'mAVE_TP_trailer')

Loss = Callable[[Tensor, OccDataSample], Tensor]


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--root', default='data/minitown', help='dataroot')
    parser.add_argument(
        '--seeds', nargs='+', type=int, default=[0], help='default: 0'
    )
    parser.add_argument(
        '--epochs', type=int, default=8, help='of each training, default 8'
    )
    parser.add_argument(
        '--out',
        default='work_dirs/flow_without_labels.md',
        help='the table, default %(default)s',
    )
    return parser


def read_samples(root: str, split: str) -> list[OccDataSample]:
    """Labels of all key frames of a split, with those around them."""
    dataset = NuScenesOccDataset(
        root,
        f'occsplat_infos_{split}.pkl',
        pipeline=[
            dict(type='LoadMultiViewImages'),
            dict(type='LoadOccLabels', grid=GRID, label_spec='openocc'),
            # only the view from above is used: cameras of a few pixels
            dict(type='RenderViews', frames=(0,), scale=0.02),
            dict(type='LoadAdjacentFrames', frames=(-1, 1), scale=0.02),
            dict(type='ImageAug', size=(16, 8)),
            dict(type='PackOccInputs'),
        ],
        label_spec='openocc',
    )
    return [dataset[i]['data_samples'] for i in range(len(dataset))]


class FlowNet(nn.Module):
    """Movable classes from above, now and before, to a flow per column.

    Dilated convolutions reach 14 columns (11 m) far. The last layer begins
    with zeros: everything at rest.
    """

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = 2 * len(SPEC.movable)
        for dilation in (1, 2, 4, 4, 2, 1):
            layers += [
                nn.Conv2d(
                    width, channels, 3, padding=dilation, dilation=dilation
                ),
                nn.GroupNorm(4, channels),
                nn.ReLU(),
            ]
            width = channels
        last = nn.Conv2d(channels, 2, 1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(*layers, last)

    def forward(self, seen: Tensor) -> Tensor:
        """(2 * movable, X, Y) -> flow in m/s, (2, X, Y, Z)."""
        flow = self.layers(seen[None])[0]
        return flow[..., None].expand(-1, -1, -1, GRID.shape[2])


def from_above(sample: OccDataSample) -> Tensor:
    """Columns with each movable class, now and before, (16, X, Y)."""
    back = torch.linalg.inv(sample.adjacent.frame2ref[0])
    points = transform_points(back, GRID.centers())
    index, inside = GRID.locate(points)
    x, y, z = torch.where(inside[..., None], index, 0).unbind(-1)
    before = sample.adjacent.occ[0][x, y, z]
    # outside of what was labelled then, and before a scene's first frame
    there = inside & (sample.adjacent.dt[0] != 0)
    before = torch.where(there, before, SPEC.free)
    columns = [
        (occ == i).any(dim=-1)
        for occ in (sample.gt_occ, before)
        for i in SPEC.movable
    ]
    return torch.stack(columns).float()


def adjacent_loss(sign: int) -> Loss:
    """VoxelSplat's loss of the moved state from above.

    Args:
        sign: -1 lets time run backwards.
    """
    head = VoxelSplatHead(
        SPEC.name,
        GRID,
        motion=dict(
            type='AdjacentMotion',
            in_channels=1,
            above=[dict(type='PlaneView')],
        ),
        num_samples=4_000,
        scale=0.3,
        views_per_step=1,
        semantic_weight=0.0,
        depth_weight=0.0,
        alpha_weight=1.0,
        flow_weight=1.0,
    )

    def loss(flow: Tensor, sample: OccDataSample) -> Tensor:
        frames = replace(sample.adjacent, dt=sign * sample.adjacent.dt)
        batch = OccBatch(
            metas=[{}],
            rig=sample.rig[None],
            gt_occ=sample.gt_occ[None].long(),
            render_rig=sample.render_rig[None],
            adjacent=[frames],
        )
        one_hot = nn.functional.one_hot(
            # what is ignored is not drawn
            batch.gt_occ.clamp(max=SPEC.free),
            SPEC.num_classes,
        )
        prediction = OccPrediction(
            one_hot.permute(0, 4, 1, 2, 3).float(),
            flow[None],
            features=torch.zeros(1, 1, *GRID.shape),
        )
        losses = head.loss(None, prediction, batch)
        # a scene's only frame has none to be compared with
        return losses.get('loss_voxelsplat_bev_alpha', 0.0 * flow.sum())

    return loss


def label_loss(flow: Tensor, sample: OccDataSample) -> Tensor:
    """The 3D loss on labelled flow, for comparison."""
    occ = sample.gt_occ[None].long()
    movable = torch.isin(occ, torch.tensor(SPEC.movable))
    return flow_l1_loss(
        flow[None],
        sample.gt_flow.permute(3, 0, 1, 2)[None],
        # the network says nothing of what can't move
        torch.where(movable, occ, SPEC.ignore),
        SPEC.ignore,
    )


def train(
    samples: Sequence[OccDataSample],
    loss: Loss,
    epochs: int,
    seed: int,
    learning_rate: float = 2e-3,
) -> FlowNet:
    """Adam with a cosine schedule, one frame per step."""
    torch.manual_seed(seed)
    net = FlowNet()
    optimizer = torch.optim.Adam(net.parameters(), learning_rate)
    steps = epochs * len(samples)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.5 + 0.5 * math.cos(math.pi * step / steps)
    )
    seen = [from_above(sample) for sample in samples]
    for _ in range(epochs):
        for i in torch.randperm(len(samples)).tolist():
            optimizer.zero_grad()
            loss(net(seen[i]), samples[i]).backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    return net


@torch.no_grad()
def score(
    samples: Sequence[OccDataSample], net: FlowNet | None
) -> dict[str, float]:
    """Metrics of the flow where the occupancy is that of the labels."""
    metric = RayIoUMetric(SPEC, GRID)
    for sample in samples:
        occ, flow = sample.gt_occ, torch.zeros_like(sample.gt_flow)
        if net is not None:
            movable = torch.isin(occ, torch.tensor(SPEC.movable))
            predicted = net(from_above(sample)).permute(1, 2, 3, 0)
            flow = torch.where(movable[..., None], predicted, flow)
        metric.add(
            sample.token, occ, occ, sample.ray_origins, flow, sample.gt_flow
        )
    return metric.score()


def table(rows: dict[str, list[dict[str, float]]], command: str) -> str:
    """Means over the seeds, and their range, as Markdown."""
    lines = [
        '| trained by | ' + ' | '.join(COLUMNS) + ' |',
        '|---|' + '--:|' * len(COLUMNS),
    ]
    for name, runs in rows.items():
        cells = []
        for column in COLUMNS:
            values = [run[column] for run in runs]
            cell = f'{sum(values) / len(values):.2f}'
            if len(values) > 1:
                cell += f' ({min(values):.2f} to {max(values):.2f})'
            cells.append(cell)
        lines.append(f'| {name} | ' + ' | '.join(cells) + ' |')
    return '\n'.join([*lines, '', f'Flow errors in m/s. `{command}`', ''])


def main(argv: Sequence[str] | None = None) -> dict[str, list]:
    """Train and score as the command line says; returns all metrics."""
    args = make_parser().parse_args(argv)
    limit_threads()
    init_default_scope('mmdet3d')
    with user_errors():
        check_file(args.out)
        training = read_samples(args.root, 'train')
        validation = read_samples(args.root, 'val')
    losses: dict[str, Loss] = {
        'adjacent occupancy, no flow label': adjacent_loss(1),
        'the same, time running backwards': adjacent_loss(-1),
        'flow labels': label_loss,
    }
    rows = {'nothing: zero flow': [score(validation, None)]}
    for name, loss in losses.items():
        rows[name] = [
            score(validation, train(training, loss, args.epochs, seed))
            for seed in args.seeds
        ]
        print(f'{name}: mAVE_TP', *(f'{r["mAVE_TP"]:.2f}' for r in rows[name]))
    command = (
        'python tools/flow_without_labels.py '
        f'--root {args.root} --seeds {" ".join(map(str, args.seeds))} '
        f'--epochs {args.epochs}'
    )
    out = Path(args.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(out) as part:
        part.write_text(table(rows, command), encoding='utf-8')
    print(f'the table is in {out}')
    return rows


if __name__ == '__main__':
    main()
