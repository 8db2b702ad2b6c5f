"""GaussRenderHead: what is rendered, and what each term answers to."""

import math

import pytest
import torch

from occsplat.models.losses import (
    image_kl_loss,
    image_l1_loss,
    masked_depth_loss,
)
from occsplat.models.render_heads import gaussrender_head
from occsplat.models.render_heads.camera_strategies import Scene
from occsplat.models.render_heads.gaussrender_head import GaussRenderHead
from occsplat.models.render_heads.virtual_views import (
    CameraViews,
    PinholeFromAbove,
    PlaneView,
)
from occsplat.rendering import rasterize
from occsplat.rendering.definition import may_see
from occsplat.structures import (
    CameraRig,
    LabelSpec,
    OccBatch,
    OccPrediction,
    VoxelGrid,
)

SPEC = LabelSpec.named('openocc')
GRID = VoxelGrid(range=(0, -4, -1, 12, 4, 2.2), shape=(15, 10, 4))
CAR, ROAD = 0, 10
SENSOR = dict(type='CameraViews', strategy='sensor')
PLANE = dict(type='PlaneView')


def make_head(**options):
    return GaussRenderHead('openocc', GRID, **options)


def make_rig():
    """A camera 1 m above the ego origin that looks along +x."""
    ref2cam = torch.tensor(
        [[0.0, -1, 0, 0], [0, 0, -1, 1], [1, 0, 0, 0], [0, 0, 0, 1]]
    )
    K = torch.tensor([[30.0, 0, 24], [0, 30, 14], [0, 0, 1]])
    return CameraRig.from_matrices(ref2cam[None], K[None], 48, 28)


def make_batch(batch_size=1):
    occ = torch.full((batch_size, *GRID.shape), SPEC.free)
    occ[:, :, :, 0] = ROAD
    occ[:, 9:12, 6:8, 1:3] = CAR
    rig = CameraRig.stack([make_rig()] * batch_size)
    return OccBatch(
        metas=[{}] * batch_size,
        rig=rig,
        gt_occ=occ,
        render_rig=rig,
        render_dt=torch.zeros(batch_size, 1),
    )


def predict(batch, sharpness=12.0, features=None):
    """Right everywhere, but for ignored voxels, which look like walls."""
    occ = torch.where(batch.gt_occ == SPEC.ignore, 14, batch.gt_occ)
    one_hot = torch.nn.functional.one_hot(occ, SPEC.num_classes)
    logits = sharpness * (2 * one_hot.permute(0, 4, 1, 2, 3).float() - 1)
    return OccPrediction(logits.requires_grad_(), features=features)


def losses_of(head, prediction, batch):
    torch.manual_seed(0)
    return head.loss(None, prediction, batch)


@pytest.mark.parametrize(
    'preset', ['gaussrender_paper', 'gaussrender_released']
)
def test_a_right_prediction_costs_nothing(preset):
    batch = make_batch()
    # the released weights are those of six cameras
    views = None if preset == 'gaussrender_paper' else (SENSOR, PLANE)
    head = make_head(preset=preset, views=views)
    good = losses_of(head, predict(batch), batch)
    wrong = predict(batch)
    wrong.logits.data[:, CAR], wrong.logits.data[:, SPEC.free] = (
        wrong.logits.data[:, SPEC.free].clone(),
        wrong.logits.data[:, CAR].clone(),
    )
    bad = losses_of(head, wrong, batch)
    assert set(good) == {
        f'loss_gaussrender_{view}_{term}'
        for view in ('camera', 'bev')
        for term in ('semantic', 'depth')
    }
    for name, value in good.items():
        assert float(value) < 1e-3, name
        assert float(bad[name]) > 100 * float(value), name


def test_the_sensor_preset_looks_from_where_a_sensor_is():
    batch = make_batch()
    prediction = predict(batch, sharpness=1.0)
    view = dict(SENSOR, depth_range=50.0)
    same, preset = (
        losses_of(head, prediction, batch)
        for head in (
            make_head(views=(view,), weight=10.0),
            make_head(preset='gaussrender_sensor'),
        )
    )
    assert set(preset) == {
        f'loss_gaussrender_camera_{term}' for term in ('semantic', 'depth')
    }
    assert preset == same


def test_presets_differ_in_weight():
    batch = make_batch()
    prediction = predict(batch, sharpness=1.0)
    paper = losses_of(make_head(views=(PLANE,)), prediction, batch)
    released = losses_of(
        make_head(views=(PLANE,), preset='gaussrender_released'),
        prediction,
        batch,
    )
    for name in paper:
        assert float(paper[name]) == pytest.approx(1.5 * float(released[name]))


def test_ignored_voxels_are_in_neither_image():
    batch = make_batch()
    batch.gt_occ[:, 4, :, 1:] = SPEC.ignore  # a wall of the prediction
    losses = losses_of(make_head(views=(SENSOR, PLANE)), predict(batch), batch)
    assert max(map(float, losses.values())) < 1e-3


@pytest.mark.parametrize('opacity', ['free_prob', 'learned', 'hard'])
def test_a_batch_is_the_mean_of_its_samples(opacity):
    batch = make_batch(2)
    batch.gt_occ[1, 9:12, 6:8, 1:3] = SPEC.free
    batch.gt_occ[1, 3:5, 2:4, 1:3] = CAR
    generator = torch.Generator().manual_seed(0)
    prediction = OccPrediction(
        torch.randn(2, SPEC.num_classes, *GRID.shape, generator=generator),
        features=torch.randn(2, 6, *GRID.shape, generator=generator),
    )
    head = make_head(views=(SENSOR, PLANE), opacity=opacity, in_channels=6)
    both = losses_of(head, prediction, batch)
    single = []
    for b in (slice(0, 1), slice(1, 2)):
        part = OccBatch(
            metas=[{}],
            rig=batch.rig[b],
            gt_occ=batch.gt_occ[b],
            render_rig=batch.render_rig[b],
            render_dt=batch.render_dt[b],
        )
        alone = OccPrediction(
            prediction.logits[b], features=prediction.features[b]
        )
        single.append(losses_of(head, alone, part))
    for name in both:
        mean = (single[0][name] + single[1][name]) / 2
        torch.testing.assert_close(both[name], mean)
        assert float(single[0][name]) != float(single[1][name])


def test_free_space_is_what_a_pixel_without_a_hit_shows():
    """Semantic L1 by hand: every pixel of the sky agrees."""
    batch = make_batch()
    batch.gt_occ[:] = SPEC.free
    prediction = predict(batch)
    losses = losses_of(make_head(views=(SENSOR,)), prediction, batch)
    assert float(losses['loss_gaussrender_camera_semantic']) < 1e-5
    # nothing to compare depths with, and no NaN either
    assert float(losses['loss_gaussrender_camera_depth']) == 0


def test_terms_can_be_chosen_and_weighted():
    batch = make_batch()
    prediction = predict(batch, sharpness=1.0)

    def terms(**weights):
        head = make_head(views=(PLANE | weights,), weight=1.0)
        return losses_of(head, prediction, batch)

    assert set(terms(depth=0.0)) == {'loss_gaussrender_bev_semantic'}
    assert set(terms(semantic=0, depth=0, alpha=1)) == {
        'loss_gaussrender_bev_alpha'
    }
    once, twice = terms(), terms(semantic=2.0, depth_range=3.0)
    semantic, depth = sorted(once, reverse=True)
    assert float(twice[semantic]) == pytest.approx(2 * float(once[semantic]))
    three, six = terms(depth_range=3.0), terms(depth_range=6.0)
    assert float(three[depth]) == pytest.approx(2 * float(six[depth]))


def test_gradients_reach_opacity_and_colour():
    batch = make_batch()
    prediction = predict(batch, sharpness=1.0)
    head = make_head(views=(SENSOR, PLANE))
    losses = losses_of(head, prediction, batch)
    for name, value in losses.items():
        (grad,) = torch.autograd.grad(
            value, prediction.logits, retain_graph=True
        )
        assert float(grad[0, SPEC.free].abs().max()) > 0, name
        if 'semantic' in name:
            assert float(grad[0, CAR].abs().max()) > 0, name


def test_hard_opacity_leaves_the_geometry_alone():
    batch = make_batch()
    prediction = predict(batch, sharpness=1.0)
    head = make_head(views=(SENSOR,), opacity='hard')
    losses = losses_of(head, prediction, batch)
    grads = {
        term: torch.autograd.grad(
            losses[f'loss_gaussrender_camera_{term}'],
            prediction.logits,
            retain_graph=True,
        )[0]
        for term in ('depth', 'semantic')
    }
    assert float(grads['depth'].abs().max()) == 0
    assert float(grads['semantic'].abs().max()) > 0


def test_learned_opacity_begins_at_a_quarter_and_learns():
    head = make_head(opacity='learned', in_channels=6, views=(SENSOR, PLANE))
    first = head.opacity_mlp(torch.zeros(3, 6)).sigmoid()
    assert first[0, 0].item() == pytest.approx(0.26894, abs=1e-5)
    batch = make_batch()
    features = torch.randn(1, 6, *GRID.shape, requires_grad=True)
    losses = losses_of(head, predict(batch, features=features), batch)
    sum(losses.values()).backward()
    assert float(features.grad.abs().max()) > 0
    assert all(p.grad is not None for p in head.parameters())


@pytest.mark.parametrize('view', [SENSOR, PLANE])
def test_culling_before_the_mlp_changes_no_image(view, monkeypatch):
    batch = make_batch()
    batch.render_rig.K[..., :2, :2] *= 6  # a narrow field of view
    features = torch.randn(1, 6, *GRID.shape)
    head = make_head(opacity='learned', in_channels=6, views=(view,))
    culled = losses_of(head, predict(batch, features=features), batch)
    counts = []

    def see_all(means, *args, **kwargs):
        counts.append(int(may_see(means, *args, **kwargs).sum()))
        return torch.ones(len(means), dtype=torch.bool)

    monkeypatch.setattr(gaussrender_head, 'may_see', see_all)
    whole = losses_of(head, predict(batch, features=features), batch)
    for name in whole:
        assert torch.equal(culled[name], whole[name])
    if view is SENSOR:
        assert counts[0] < 0.95 * GRID.num_voxels


def test_each_rank_draws_its_own_cameras(monkeypatch):
    batch, head = make_batch(), make_head()
    prediction = predict(batch, sharpness=1.0)
    values = []
    for rank in (0, 0, 1):
        monkeypatch.setattr(
            gaussrender_head, 'get_rank', lambda rank=rank: rank
        )
        losses = losses_of(head, prediction, batch)
        values.append(float(losses['loss_gaussrender_camera_semantic']))
    assert values[0] == values[1] != values[2]


@pytest.mark.parametrize(
    'sigma, voxel, face, edge, corner',
    [
        (0.27, 0.4, 0.760, 0.578, 0.439),
        (0.25, 0.5, 0.607, 0.368, 0.223),
        (0.10, 0.2, 0.607, 0.368, 0.223),
    ],
)
def test_how_far_a_ball_fills_its_voxel(sigma, voxel, face, edge, corner):
    """exp(-d^2 / 2 sigma^2) at a face, an edge and a corner."""
    for count, expected in ((1, face), (2, edge), (3, corner)):
        squared = count * (voxel / 2) ** 2
        assert math.exp(-squared / (2 * sigma**2)) == pytest.approx(
            expected, abs=1e-3
        )
    # and as it is rendered, seen from far away: 100 px a metre, no blur
    out = rasterize(
        torch.zeros(1, 3),
        torch.full((1, 3), sigma),
        torch.ones(1),
        torch.ones(1, 1),
        torch.tensor(
            [[[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 5], [0, 0, 0, 1]]]
        ),
        torch.tensor([[[100.0, 0, 40.5], [0, 100, 40.5], [0, 0, 1]]]),
        81,
        81,
        eps2d=0.0,
        camera_model='ortho',
    )
    offset = round(100 * voxel / 2)
    assert float(out.alpha[0, 40, 40 + offset]) == pytest.approx(
        face, abs=1e-3
    )
    assert float(out.alpha[0, 40 + offset, 40 + offset]) == pytest.approx(
        edge, abs=1e-3
    )


def test_default_scale_is_half_a_voxel():
    assert make_head().scale == pytest.approx(0.4)
    assert GaussRenderHead('occ3d').scale == pytest.approx(0.2)


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(preset='best'), "'gaussrender_paper'.*'best'"),
        (dict(opacity='soft'), "'free_prob'.*'soft'"),
        (dict(semantic_loss='l2'), "'l1', 'kl'.*'l2'"),
        (dict(opacity='learned'), 'in_channels'),
        (dict(views=(PLANE, PLANE)), "names of their own.*'bev', 'bev'"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        make_head(**options)


def test_render_views_must_begin_with_the_key_frame():
    batch, head = make_batch(), make_head()
    prediction = predict(batch)
    batch.render_dt = batch.render_dt + 0.5
    with pytest.raises(ValueError, match='begin with 0'):
        head.loss(None, prediction, batch)
    batch.render_rig = None
    with pytest.raises(ValueError, match='add RenderViews'):
        head.loss(None, prediction, batch)


def test_image_losses_by_hand():
    true = torch.tensor([[[[1.0, 0], [0, 1]]]])
    predicted = torch.tensor([[[[0.5, 0.5], [0, 1]]]])
    assert float(image_l1_loss(predicted, true)) == pytest.approx(0.25)
    assert float(image_kl_loss(predicted, true)) == pytest.approx(
        math.log(2) / 2, abs=1e-4
    )
    assert float(image_kl_loss(true, true)) == pytest.approx(0, abs=1e-4)
    depth = torch.tensor([[[10.0, 0, 20]], [[0.0, 0, 4]]])
    error = torch.tensor([[[1.0, 5, 2]], [[3.0, 3, -1]]])
    by_range = masked_depth_loss(depth + error, depth, 10.0)
    assert float(by_range) == pytest.approx((0.1 + 0.2 + 0.1) / 3)
    assert float(masked_depth_loss(error, torch.zeros(2, 1, 3), 10.0)) == 0


def test_a_view_that_is_blocked_weighs_no_more_than_others():
    # divided by the largest true depth of each view, the wall in front of
    # the camera cost as much as the one far away, and its errors ten times
    # their metres
    def depth_loss(x):
        batch = make_batch()
        batch.gt_occ[:] = SPEC.free
        prediction = predict(batch)
        batch.gt_occ[:, x] = CAR
        head = make_head(views=(SENSOR,), weight=1.0)
        losses = losses_of(head, prediction, batch)
        return float(losses['loss_gaussrender_camera_depth'].detach())

    # all of the depth is missing: 1.2 m and 10 m, less at the walls' edges
    near, far = depth_loss(1), depth_loss(12)
    assert near < 0.3 * far
    diagonal = math.dist(GRID.min, GRID.max)
    assert near == pytest.approx(1.2 / diagonal, rel=0.2)
    assert 5 / diagonal < far < 10 / diagonal


def test_depth_ranges_are_constants_of_the_data_set():
    scene = Scene(make_rig(), GRID, torch.zeros(0, 3))
    generator = torch.Generator()
    diagonal = math.dist(GRID.min, GRID.max)
    for view, expected in (
        (CameraViews(strategy='sensor'), diagonal),
        (CameraViews(strategy='sensor', depth_range=50.0), 50.0),
        (PlaneView(), 4.2),  # a metre above 3.2 m
        (PlaneView(axis='x'), 13.0),
        (PlaneView(depth_range=9.0), 9.0),
        (PinholeFromAbove(), 100.0),
    ):
        assert view(scene, generator).depth_range == pytest.approx(expected)


def test_cached_labels_give_the_same_losses(tmp_path, monkeypatch):
    batch = make_batch()
    prediction = predict(batch, sharpness=1.0)
    live = losses_of(make_head(views=(SENSOR, PLANE)), prediction, batch)
    head = make_head(views=(SENSOR, PLANE), cache=str(tmp_path))
    first = losses_of(head, prediction, batch)
    assert len(list(tmp_path.glob('*/*.npz'))) == 2
    monkeypatch.setattr(head, '_label_images', None)
    again = losses_of(head, prediction, batch)
    for name in live:
        assert torch.equal(first[name], live[name])
        assert torch.equal(again[name], live[name])
    with pytest.raises(ValueError, match='another folder'):
        make_head(cache=str(tmp_path), scale=0.1)


def test_a_cached_sample_that_changes_has_its_own_truth(tmp_path):
    head = make_head(views=(SENSOR, PLANE), cache=str(tmp_path))
    plain = make_head(views=(SENSOR, PLANE))
    batch = make_batch()
    losses_of(head, predict(batch), batch)
    # the same sample: masked, mirrored with its camera, scaled
    masked = make_batch()
    masked.gt_occ[0, 9:12] = SPEC.ignore
    mirrored = make_batch()
    mirrored.gt_occ = mirrored.gt_occ.flip(2)
    mirrored.render_rig.ref2cam[..., :3, 1] *= -1
    scaled = make_batch()
    scaled.render_rig.ref2cam[..., :3, :3] *= 1.05
    for changed in (masked, mirrored, scaled):
        prediction = predict(changed, sharpness=1.0)
        expected = losses_of(plain, prediction, changed)
        for _ in range(2):
            found = losses_of(head, prediction, changed)
            for name in expected:
                assert torch.equal(found[name], expected[name])
