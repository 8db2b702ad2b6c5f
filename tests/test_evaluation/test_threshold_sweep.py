"""A sweep scores what single metrics score, and reports the best."""

import math

import pytest
import torch
from mmengine.evaluator import BaseMetric

from occsplat.evaluation import (
    VALIDATION_THRESHOLDS,
    BEVIoUMetric,
    BoxMetric,
    DuplicateMetric,
    OccIoUMetric,
    OffsetMetric,
    RayIoUMetric,
    ThresholdSweep,
    best_threshold,
    count_metric,
    ray_iou_metric,
)
from occsplat.structures import (
    LabelSpec,
    OccDataSample,
    VoxelGrid,
    VoxelOpacity,
)

SPEC = LabelSpec.named('openocc')
GRID = VoxelGrid(SPEC.grid.range, (20, 20, 4))
WHERE = dict(label_spec=SPEC, grid=GRID)
CAR, ROAD, FREE = 0, 10, SPEC.free
TAUS = (0.05, 0.1, 0.3, 0.5)


def frame(token, look, seed=0):
    """A street whose surfaces are 0.1 to 0.3 opaque, in fog of up to 0.1."""
    make = torch.Generator().manual_seed(seed)
    occ = torch.full(GRID.shape, FREE, dtype=torch.uint8)
    occ[:, :, 0] = ROAD
    for x, y in torch.randint(2, 17, (4, 2), generator=make).tolist():
        occ[x : x + 2, y, 1:3] = CAR
    noise = torch.rand(GRID.shape, generator=make)
    opacity = torch.where(occ == FREE, 0.1 * noise, 0.1 + 0.2 * noise)
    # exactly upon each of the thresholds
    opacity[0, : len(TAUS), 3] = torch.tensor(TAUS)
    guess = torch.where(noise < 0.1, CAR, ROAD).to(torch.uint8)
    likeliest = torch.where(occ == FREE, guess, occ)
    flow = torch.randn(*GRID.shape, 2, generator=make)
    flow[likeliest != CAR] = 0
    sample = OccDataSample(
        metainfo=dict(token=token, ray_origins=torch.tensor([[0.0, 0.0, 1.8]]))
    )
    sample.rig = look((1.0, 0.0, 1.5))
    sample.gt_occ = occ
    sample.gt_flow = torch.zeros(*GRID.shape, 2)
    sample.gt_boxes = torch.tensor([[0.0, 0, 0, 4, 2, 1.5, 0.3]])
    sample.gt_box_labels = torch.tensor([CAR])
    sample.pred_opacity = VoxelOpacity(opacity, likeliest, FREE, flow)
    # those of the head's own threshold, which nobody may look at
    sample.pred_occ = torch.full(GRID.shape, CAR, dtype=torch.uint8)
    sample.pred_flow = torch.full((*GRID.shape, 2), 100.0)
    return sample


@pytest.fixture
def frames(look):
    return [frame(f'frame{i}', look, i) for i in range(3)]


def metrics():
    return [
        BEVIoUMetric(**WHERE),
        OccIoUMetric(**WHERE),
        RayIoUMetric(**WHERE),
        BoxMetric(**WHERE),
        OffsetMetric(**WHERE),
        DuplicateMetric(**WHERE),
        OccIoUMetric(**WHERE, prefix='again'),
    ]


def scores_at(frames, threshold):
    """By metrics that know nothing of a sweep."""
    found = {}
    for metric in metrics():
        for sample in frames:
            single = sample.clone()
            occ, flow = sample.pred_opacity.at(threshold)
            single.pred_occ, single.pred_flow = occ, flow
            metric.process(None, [single])
        found.update(metric.evaluate(len(frames)))
    return found


def test_all_scores_are_those_of_the_best_threshold(frames):
    sweep = ThresholdSweep(metrics(), TAUS)
    for sample in frames:
        sweep.process([sample])
    singles = {tau: scores_at(frames, tau) for tau in TAUS}
    by_tau = sweep.scores()
    assert list(by_tau) == list(TAUS)
    for tau, scores in by_tau.items():
        assert set(scores) == {
            *('RayIoU', 'RayIoU@1', 'RayIoU@2', 'RayIoU@4'),
            *('mIoU', 'IoU', 'again/mIoU', 'again/IoU'),
        }
        for key, value in scores.items():
            assert value == singles[tau][key], (tau, key)
    out = sweep.evaluate(3)
    # what is true is at least as opaque as that, and the fog is not
    assert out.pop('tau') == 0.1
    assert out == pytest.approx(singles[0.1], nan_ok=True, rel=0, abs=0)
    assert out['RayIoU'] > max(singles[0.05]['RayIoU'], 0.5)
    assert out['FalseBefore'] < singles[0.05]['FalseBefore']
    # the next epoch starts afresh
    sweep.process(frames[:1])
    again = sweep.evaluate(1)
    one = scores_at(frames[:1], again.pop('tau'))
    assert again == pytest.approx(one, nan_ok=True, rel=0, abs=0)


def test_the_truth_is_cast_once_a_frame(frames, monkeypatch):
    casts = []
    real = ray_iou_metric.true_rays

    def counted(*args):
        casts.append(args)
        return real(*args)

    monkeypatch.setattr(ray_iou_metric, 'true_rays', counted)
    sweep = ThresholdSweep([RayIoUMetric(**WHERE)], TAUS)
    sweep.process([*frames, frames[0]])
    assert len(casts) == 3


def test_metrics_of_one_prediction_wait_for_the_best(frames, monkeypatch):
    counted = []
    real = DuplicateMetric.add

    def add(self, token, **fields):
        counted.append(token)
        return real(self, token, **fields)

    monkeypatch.setattr(DuplicateMetric, 'add', add)
    sweep = ThresholdSweep(metrics(), TAUS)
    sweep.process(frames)
    assert not counted
    sweep.evaluate(3)
    assert counted == ['frame0', 'frame1', 'frame2']


def test_ranks_agree_on_the_threshold(frames, monkeypatch):
    whole = ThresholdSweep(metrics(), TAUS)
    whole.process(frames)
    whole = whole.evaluate(3)
    ranks = [ThresholdSweep(metrics(), TAUS) for _ in range(2)]
    # the sampler served frame 0 twice to make them even
    ranks[0].process([frames[0], frames[2]])
    ranks[1].process([frames[1], frames[0]])
    for sweep in ranks:
        other = ranks[1 - ranks.index(sweep)]
        # the metric that is asked, of the other rank, by its place
        order = {}
        for tau in TAUS:
            for mine, theirs in zip(sweep.at[tau], other.at[tau]):
                order[id(mine.frames)] = theirs.frames
        monkeypatch.setattr(
            count_metric,
            'all_gather_object',
            lambda own, order=order: [own, order[id(own)]],
        )
        scores = sweep.scores()
        assert best_threshold(scores, 'RayIoU') == whole['tau']
        for key, value in scores[whole['tau']].items():
            assert value == whole[key]


def test_what_it_is_chosen_by(frames):
    assert ThresholdSweep(metrics()).by == 'RayIoU'
    assert (
        ThresholdSweep([OccIoUMetric(prefix='a', label_spec='openocc')]).by
        == 'a/mIoU'
    )
    sweep = ThresholdSweep(metrics(), TAUS, 'again/IoU')
    sweep.process(frames)
    scores = sweep.scores()
    best = max(scores, key=lambda tau: scores[tau]['IoU'])
    assert sweep.evaluate(3)['tau'] == best
    assert VALIDATION_THRESHOLDS == tuple(sorted(VALIDATION_THRESHOLDS))
    with pytest.raises(ValueError, match="one of RayIoU, .* got 'bev_mIoU'"):
        ThresholdSweep(metrics(), TAUS, 'bev_mIoU')
    with pytest.raises(ValueError, match='chosen by one of'):
        ThresholdSweep([BEVIoUMetric(label_spec='openocc')])


def test_the_lowest_of_equals_and_nothing_defined():
    rows = {0.1: dict(a=0.2), 0.2: dict(a=0.5), 0.3: dict(a=0.5)}
    assert best_threshold(rows, 'a') == 0.2
    rows = {0.1: dict(a=math.nan), 0.2: dict(a=0.0)}
    assert best_threshold(rows, 'a') == 0.2
    assert best_threshold({0.1: dict(a=math.nan)}, 'a') is None


def test_without_frames_and_without_opacity(frames):
    with pytest.raises(ValueError, match='no frame was processed'):
        ThresholdSweep(metrics(), TAUS).evaluate(3)
    del frames[0].pred_opacity
    with pytest.raises(ValueError, match="'frame0' has no pred_opacity"):
        ThresholdSweep(metrics(), TAUS).process(frames)
    frames[2].pred_opacity.opacity[3, 2, 1] = math.nan
    with pytest.raises(ValueError, match="'frame2', pred_opacity: expected"):
        ThresholdSweep(metrics(), TAUS).process(frames[1:])
    del frames[1].gt_occ
    with pytest.raises(ValueError, match=r"missing \['gt_occ'\] in sample"):
        ThresholdSweep(metrics(), TAUS).process(frames[1:])


def test_metrics_of_others_score_the_own_threshold(frames):
    class Cars(BaseMetric):
        default_prefix = ''

        def process(self, data_batch, data_samples):
            self.results += [s['pred_occ'] == CAR for s in data_samples]

        def compute_metrics(self, results):
            return dict(cars=float(torch.stack(results).float().mean()))

    sweep = ThresholdSweep([*metrics(), Cars()], TAUS)
    sweep.process(frames)
    assert sweep.evaluate(3)['cars'] == 1
