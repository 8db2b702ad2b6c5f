"""Test-time augmentation: mirrored looks at one scene say the same."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.model import BaseModel
from small_rig import HEIGHT, WIDTH, make_rig

from occsplat.engine import build_split, init_model, load_config
from occsplat.models import FlipTTA, OccDataPreprocessor, OccDetector
from occsplat.models.flip_tta import MIRRORS, Flip, all_flips, merge
from occsplat.structures import OccDataSample, OccPrediction, VoxelGrid

ROOT = Path(__file__).parents[1]
GRID = VoxelGrid(range=(-4, -4, -1, 4, 4, 2), shape=(8, 8, 3))
CLASSES = 4


def make_pose(angle=0.3):
    pose = np.eye(4)
    c, s = math.cos(angle), math.sin(angle)
    pose[:2, :2] = [[c, -s], [s, c]]
    pose[:3, 3] = [5.0, -3.0, 0.4]
    return pose


def make_sample(token='b', prev='a'):
    sample = OccDataSample(
        metainfo=dict(
            token=token, prev=prev, timestamp=0.0, ref2global=make_pose()
        )
    )
    # an image size that rounds nothing, so that mirrored pixels are pixels
    sample.rig = make_rig()
    return sample


class Seeing(OccDetector):
    """Says what stands in the world and in the images, of all voxels.

    Wherever the frame and the images are mirrored, it is the same world.
    """

    def __init__(self, grid=GRID):
        BaseModel.__init__(self, OccDataPreprocessor())
        self.history, self.grid = None, grid
        self.seen = []

    def forward(self, inputs, data_samples, mode='tensor'):
        assert mode == 'tensor'
        imgs = inputs['imgs']
        logits, flow = [], []
        for sample, views in zip(data_samples, imgs):
            self.seen.append(sample)
            centers = self.grid.centers().double()
            pose = torch.from_numpy(sample.ref2global)
            world = centers @ pose[:3, :3].T + pose[:3, 3]
            colors = self._colors(sample.rig, views, centers)
            features = torch.cat([world.sin(), colors], dim=-1)
            logits.append(features[..., :CLASSES].movedim(-1, 0))
            # a wind in the world, told along the axes of the frame
            wind = torch.stack(
                [world[..., 1].cos(), world[..., 0].sin()], dim=-1
            )
            flow.append((wind @ pose[:2, :2]).movedim(-1, 0))
        offsets = torch.rand(len(imgs), 6, 4, 4, 2)
        return OccPrediction(
            torch.stack(logits), torch.stack(flow), offsets=offsets
        )

    @staticmethod
    def _colors(rig, views, centers):
        """Red of the pixels that voxels are seen at, (X, Y, Z, 1)."""
        uv, depth = rig.to(torch.float64).project(centers.view(1, -1, 3))
        uv = uv[0].floor().long()  # of the only frame, (N, P, 2)
        inside = (uv >= 0) & (uv < torch.tensor([WIDTH, HEIGHT]))
        inside = inside.all(dim=-1) & (depth[0] > 0.1)
        uv = torch.where(inside[..., None], uv, 0)
        cameras = torch.arange(len(uv))[:, None]
        red = views[0, cameras, 0, uv[..., 1], uv[..., 0]]
        total = (red * inside).sum(dim=0)
        return total.view(*centers.shape[:3], 1).double()


@pytest.fixture
def images():
    return torch.rand(2, 1, 3, 3, HEIGHT, WIDTH)


def test_eight_looks_at_one_world_say_the_same(images):
    detector = Seeing()
    samples = [make_sample(), make_sample('d', 'c')]
    plain = detector(dict(imgs=images), samples)
    mean = FlipTTA(detector)(dict(imgs=images), samples, 'tensor')
    torch.testing.assert_close(
        mean.logits, plain.logits.float().log_softmax(dim=1)
    )
    torch.testing.assert_close(mean.flow, plain.flow)
    # and the images do matter
    other = detector(dict(imgs=1 - images), samples)
    assert (other.logits - plain.logits).abs().max() > 0.5


@pytest.mark.parametrize('flip', all_flips(), ids=str)
def test_a_mirrored_point_is_at_the_mirrored_pixel(flip):
    rig = make_rig()
    points = torch.rand(1, 20, 3) * 8 - 4
    there = torch.from_numpy(flip.matrix).float()[:3, :3]
    uv, depth = rig.project(points)
    mirrored, same = flip.of_rig(rig).project(points @ there)
    if flip.images:
        uv = torch.stack([WIDTH - uv[..., 0], uv[..., 1]], dim=-1)
    front = depth > 0.1
    torch.testing.assert_close(same, depth)
    torch.testing.assert_close(mirrored[front], uv[front])
    # and its pixel shows what it has shown
    column = torch.arange(WIDTH).expand(2, WIDTH)
    shown = flip.of_images(column)[0]
    assert shown[3] == (WIDTH - 4 if flip.images else 3)


def test_the_first_look_is_the_scene_itself():
    assert len(all_flips()) == len(set(all_flips())) == 8
    assert all_flips()[0] == Flip(False, False, False)
    assert all_flips(['y']) == [
        Flip(False, False, False),
        Flip(False, False, True),
    ]


def test_each_look_has_a_sequence_of_its_own(images):
    detector = Seeing()
    now, before = make_sample('b', 'a'), make_sample('a', '')
    model = FlipTTA(detector)
    for sample in (before, now):
        model(dict(imgs=images[:1]), [sample], 'tensor')
    first, second = detector.seen[:8], detector.seen[8:]
    assert [s.prev for s in second] == [s.token for s in first]
    assert len({s.token for s in detector.seen}) == 16
    assert {s.prev for s in first} == {''}


def test_a_history_remembers_every_look(minitown_infos):
    cfg = load_config(ROOT / 'small_fbocc_config.py')
    cfg.val_dataloader.dataset.data_root = f'{minitown_infos}/'
    torch.manual_seed(0)
    detector = init_model(cfg)
    dataset = build_split(cfg, 'val')
    model = FlipTTA(detector, ['images', 'y']).eval()
    frames = [
        tuple(model.data_preprocessor(pseudo_collate([packed])).values())
        for packed in (dataset[0], dataset[1])
    ]
    with torch.no_grad():
        interleaved = [model(*frame) for frame in frames][-1]
        # one look after the other, each through both frames
        looks = []
        for flip in model.flips:
            detector.train().eval()
            for inputs, samples in frames:
                said = detector(
                    dict(imgs=flip.of_images(inputs['imgs'])),
                    [flip.of_sample(sample) for sample in samples],
                )
            looks.append(flip.undo(said))
        expected = merge(looks)
        detector.train().eval()
        without_past = model(*frames[1])
    torch.testing.assert_close(interleaved.logits, expected.logits)
    torch.testing.assert_close(interleaved.flow, expected.flow)
    assert (without_past.logits - expected.logits).abs().max() > 1e-2


def test_the_mean_is_one_of_probabilities():
    sure = torch.tensor([20.0, 0.0, 0.0]).view(1, 3, 1, 1, 1)
    unsure = torch.tensor([0.0, 0.4, 0.0]).view(1, 3, 1, 1, 1)
    merged = merge([OccPrediction(sure), OccPrediction(unsure)])
    probability = (sure.softmax(dim=1) + unsure.softmax(dim=1)) / 2
    torch.testing.assert_close(merged.logits.exp(), probability)
    assert merged.flow is None and merged.offsets is None


def test_offsets_are_those_of_volumes_that_are_not_mirrored(images):
    detector = Seeing()
    said = []
    forward = detector.forward
    detector.forward = lambda *args: said.append(forward(*args)) or said[-1]
    merged = FlipTTA(detector)(dict(imgs=images), [make_sample()] * 2)
    flips = all_flips()
    kept = [p.offsets for f, p in zip(flips, said) if not f.x and not f.y]
    assert len(kept) == 2
    torch.testing.assert_close(merged.offsets, sum(kept) / 2)


def test_what_it_refuses(images):
    half = replace(GRID, range=(0, -4, -1, 8, 4, 2))
    with pytest.raises(ValueError, match='goes from 0 to 8 m'):
        FlipTTA(Seeing(half))
    assert FlipTTA(Seeing(half), ['images', 'y']).flips
    with pytest.raises(ValueError, match='mirror is empty'):
        FlipTTA(Seeing(), [])
    with pytest.raises(ValueError, match='mirror'):
        FlipTTA(Seeing(), ['z'])
    with pytest.raises(ValueError, match="'predict' or 'tensor', got 'loss'"):
        FlipTTA(Seeing())(dict(imgs=images), [], 'loss')
    assert MIRRORS == ('images', 'x', 'y')
