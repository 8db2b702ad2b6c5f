"""Voxel losses against hand-computed values and naive twins."""

import math

import pytest
import torch
import torch.nn.functional as F

from occsplat.models.losses import (
    balanced_class_weights,
    flow_l1_loss,
    geo_scal_loss,
    log_count_weights,
    lovasz_softmax_loss,
    radial_focal_loss,
    radial_weight,
    sem_scal_loss,
    voxel_cross_entropy_loss,
)

K, FREE = 4, 3
WEIGHT = torch.tensor([0.5, 2.0, 1.0, 0.25])
SHAPE = (2, 5, 3, 2)  # B, X, Y, Z, all different


def random_case(shape=SHAPE, dtype=torch.float64, ignored=0.2, seed=0):
    gen = torch.Generator().manual_seed(seed)
    target = torch.randint(0, K, shape, generator=gen)
    target[torch.rand(shape, generator=gen) < ignored] = 255
    logits = torch.randn(shape[0], K, *shape[1:], generator=gen, dtype=dtype)
    return logits.requires_grad_(), target


def focal(logits, target):
    return radial_focal_loss(logits, target, WEIGHT)


def sem_scal(logits, target):
    return sem_scal_loss(logits.softmax(1), target, FREE)


def geo_scal(logits, target):
    return geo_scal_loss(logits.softmax(1), target, FREE)


def lovasz(logits, target):
    return lovasz_softmax_loss(logits.softmax(1), target)


def cross_entropy(logits, target):
    return voxel_cross_entropy_loss(logits, target, WEIGHT)


def flow(logits, target):
    moving = logits.new_tensor([2.0, -1.0]).view(1, 2, 1, 1, 1)
    return flow_l1_loss(logits[:, :2], moving * (target == 0)[:, None], target)


ALL = [focal, sem_scal, geo_scal, lovasz, cross_entropy, flow]


# ---- the same losses, voxel by voxel, in the words of the papers


def naive_focal(logits, target):
    _, _, num_x, num_y, _ = logits.shape
    total, count = 0, 0
    far = math.hypot((num_x - 1) / 2, (num_y - 1) / 2)
    for b, x, y, z in (target != 255).nonzero().tolist():
        radius = math.hypot(x - (num_x - 1) / 2, y - (num_y - 1) / 2)
        count += 1
        for k in range(K):
            p = torch.sigmoid(logits[b, k, x, y, z])
            hit = k == target[b, x, y, z]
            p_t, a_t = (p, 0.25) if hit else (1 - p, 0.75)
            term = -a_t * (1 - p_t) ** 2 * torch.log(p_t)
            total = total + WEIGHT[k] * (1 + radius / far) * term
    return total / count


def naive_affinity(p, t):
    precision = (p * t).sum() / p.sum()
    recall = (p * t).sum() / t.sum()
    specificity = ((1 - p) * (1 - t)).sum() / (1 - t).sum()
    return -(precision * recall * specificity).log()


def naive_sem_scal(logits, target):
    valid = target != 255
    probs = logits.softmax(1).movedim(1, -1)[valid]
    target = target[valid]
    return sum(
        naive_affinity(probs[:, k], (target == k).double())
        for k in range(K - 1)
    ) / (K - 1)


def naive_geo_scal(logits, target):
    valid = target != 255
    free = logits.softmax(1)[:, FREE][valid]
    return naive_affinity(1 - free, (target[valid] != FREE).double())


def naive_lovasz(logits, target):
    """Berman et al. eq. 6 to 8: grow the set of wrong voxels one by one."""
    valid = target != 255
    probs = logits.softmax(1).movedim(1, -1)[valid]
    target, losses = target[valid], []
    for k in target.unique().tolist():
        inside = target == k
        error = torch.where(inside, 1 - probs[:, k], probs[:, k])
        wrong = torch.zeros_like(inside)
        previous, loss = 0.0, 0
        for i in error.argsort(descending=True).tolist():
            wrong[i] = True
            jaccard = float(wrong.sum() / (inside | wrong).sum().double())
            loss = loss + (jaccard - previous) * error[i]
            previous = jaccard
        losses.append(loss)
    return sum(losses) / len(losses)


def naive_cross_entropy(logits, target):
    total, weights = 0, 0
    for b, x, y, z in (target != 255).nonzero().tolist():
        weight = WEIGHT[target[b, x, y, z]]
        probs = logits[b, :, x, y, z].softmax(0)
        total = total - weight * probs[target[b, x, y, z]].log()
        weights += weight
    return total / weights


NAIVE = [
    (focal, naive_focal),
    (cross_entropy, naive_cross_entropy),
    (sem_scal, naive_sem_scal),
    (geo_scal, naive_geo_scal),
    (lovasz, naive_lovasz),
]


@pytest.mark.parametrize(('loss', 'naive'), NAIVE)
def test_equals_naive_twin(loss, naive):
    logits, target = random_case()
    expected = naive(logits, target)
    actual = loss(logits, target)
    # the floor under precision and recall is 1e-5
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-4)
    (expected_grad,) = torch.autograd.grad(expected, logits)
    (actual_grad,) = torch.autograd.grad(actual, logits)
    torch.testing.assert_close(
        actual_grad, expected_grad, atol=1e-5, rtol=1e-3
    )
    assert expected_grad.abs().max() > 1e-3


@pytest.mark.parametrize('loss', ALL)
def test_gradcheck(loss):
    logits, target = random_case((2, 3, 2, 1))
    assert torch.autograd.gradcheck(lambda x: loss(x, target), logits)


@pytest.mark.parametrize('loss', ALL)
def test_ignored_voxels_have_no_influence(loss):
    logits, target = random_case()
    ignored = (target == 255)[:, None].expand_as(logits)
    value = loss(logits, target)
    (grad,) = torch.autograd.grad(value, logits)
    changed = logits.detach().masked_fill(ignored, 7.0)
    torch.testing.assert_close(loss(changed, target), value.detach())
    assert not grad[ignored].any()
    assert grad[~ignored].any()


@pytest.mark.parametrize('loss', ALL)
def test_all_ignored_is_zero_with_graph(loss):
    logits, target = random_case(ignored=1.1)
    value = loss(logits, target)
    value.backward()
    assert value == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize(
    'loss', [focal, sem_scal, geo_scal, lovasz, cross_entropy]
)
def test_perfect_prediction_costs_nothing(loss):
    _, target = random_case(ignored=0)
    one_hot = F.one_hot(target, K).movedim(-1, 1).float()
    assert loss(40 * one_hot - 20, target).abs() < 1e-5
    assert loss(20 - 40 * one_hot, target) > 0.5


def test_weights_lift_rare_classes_but_free_space():
    """By how often they occur to the power of 0.3, by hand."""
    weight = balanced_class_weights((1000, 10, 10_000, 28_990), free=3)
    expected = [10**0.3, 1000**0.3, 1.0, 2.0]  # of a mean of 10 000
    torch.testing.assert_close(weight, torch.tensor(expected))


@pytest.mark.parametrize('loss', ALL)
def test_mirrored_scene_costs_the_same(loss):
    logits, target = random_case()
    mirrored = loss(logits.flip(2), target.flip(1))
    torch.testing.assert_close(mirrored, loss(logits, target))


@pytest.mark.parametrize('loss', ALL)
def test_pooled_over_the_batch(loss):
    """Two samples cost what they cost side by side as one, along z."""
    logits, target = random_case()
    joined = loss(
        torch.cat(logits.unbind(0), -1)[None],
        torch.cat(target.unbind(0), -1)[None],
    )
    torch.testing.assert_close(joined, loss(logits, target))


def test_focal_by_hand():
    """One voxel, two classes, logits 0: q = 1/2, q^2 ln 2 = 0.173287."""
    loss = radial_focal_loss(
        torch.zeros(1, 2, 1, 1, 1),
        torch.zeros(1, 1, 1, 1, dtype=torch.long),
        torch.tensor([1.0, 2.0]),
    )
    assert float(loss) == pytest.approx(
        0.25 * 1 * 0.173287 + 0.75 * 2 * 0.173287, rel=1e-5
    )


def test_focal_survives_extreme_logits():
    logits = torch.full((1, 2, 1, 1, 1), 1e4, requires_grad=True)
    target = torch.ones(1, 1, 1, 1, dtype=torch.long)
    loss = radial_focal_loss(logits, target, torch.ones(2))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0.75 * 1e4)
    assert logits.grad.isfinite().all()


def test_radial_weight_by_hand():
    weight = radial_weight(torch.zeros(()), 3, 5)
    assert weight.shape == (3, 5)
    assert weight[1, 2] == 1
    for corner in [(0, 0), (0, -1), (-1, 0), (-1, -1)]:
        assert float(weight[corner]) == pytest.approx(2)
    assert float(weight[0, 2]) == pytest.approx(1 + 1 / math.sqrt(5))
    assert float(weight[1, 0]) == pytest.approx(1 + 2 / math.sqrt(5))
    assert torch.equal(radial_weight(weight, 1, 1), torch.ones(1, 1))


def test_log_count_weights():
    """The first and the last class of OpenOcc, as FB-Occ rounds them."""
    weights = log_count_weights((89275612, 20007563961))
    torch.testing.assert_close(
        weights, torch.tensor([0.0546, 0.0422]), atol=5e-5, rtol=0
    )
    with pytest.raises(ValueError, match='at least 2'):
        log_count_weights((100, 1))


def two_voxels(p_first, p_second):
    """Probabilities of class 0 in a voxel of class 0 and one of class 1."""
    first = torch.tensor([p_first, p_second]).view(1, 1, 2, 1, 1)
    target = torch.tensor([0, 1]).view(1, 2, 1, 1)
    return torch.cat([first, 1 - first], 1), target


@pytest.mark.parametrize('loss', [sem_scal_loss, geo_scal_loss])
def test_affinity_by_hand(loss):
    """P = 0.6 / 0.9, R = 0.6, S = 0.7."""
    probs, target = two_voxels(0.6, 0.3)
    expected = -math.log(0.6 / 0.9 * 0.6 * 0.7)
    assert float(loss(probs, target, free=1)) == pytest.approx(
        expected, abs=1e-4
    )


def test_affinity_without_negatives_has_no_specificity():
    probs, target = two_voxels(0.6, 0.3)
    loss = geo_scal_loss(probs, torch.zeros_like(target), free=1)
    assert float(loss) == pytest.approx(-math.log(0.45), abs=1e-4)


def test_class_given_up_on_still_learns():
    """Clamping a ratio at 1e-5 would cut its gradient off for good."""
    probs, target = two_voxels(1e-9, 1e-9)
    probs.requires_grad_()
    sem_scal_loss(probs, target, free=1).backward()
    assert probs.grad[0, 0, 0] < -1


def test_sem_scal_averages_over_present_occupied_classes():
    logits, target = random_case(ignored=0)
    target[target == 1] = 0
    probs = logits.softmax(1)
    expected = sum(
        naive_affinity(probs[:, k], (target == k).double()) for k in (0, 2)
    )
    torch.testing.assert_close(
        sem_scal_loss(probs, target, FREE), expected / 2, atol=1e-4, rtol=0
    )


@pytest.mark.parametrize(
    ('p_second', 'class_0', 'class_1'),
    [
        # 0.4 on the class and 0.3 off it: its IoU is lost at once; seen
        # from the other class they come in the other order: half each
        (0.3, 0.4, 0.5 * 0.4 + 0.5 * 0.3),
        # 0.4 on the class and 0.7 off it
        (0.7, 0.5 * 0.7 + 0.5 * 0.4, 0.7),
    ],
)
def test_lovasz_by_hand(p_second, class_0, class_1):
    probs, target = two_voxels(0.6, p_second)
    loss = lovasz_softmax_loss(probs, target)
    assert float(loss) == pytest.approx((class_0 + class_1) / 2)


def test_lovasz_leaves_absent_classes_out():
    probs, target = two_voxels(0.6, 0.3)
    loss = lovasz_softmax_loss(probs, torch.zeros_like(target))
    # errors 0.7 and 0.4 with all voxels of the class: their mean
    assert float(loss) == pytest.approx(0.55)


def test_lovasz_weights_keep_their_digits_in_single_precision():
    """As differences of neighbouring IoUs they would be off by percents.

    With every voxel of the class the weights are all 1 / P.
    """
    probs = torch.rand(1, 1, 300, 200, 4).requires_grad_()
    target = torch.zeros(1, 300, 200, 4, dtype=torch.long)
    lovasz_softmax_loss(probs, target).backward()
    torch.testing.assert_close(
        probs.grad * 240_000, -torch.ones_like(probs), rtol=1e-5, atol=0
    )


def test_lovasz_at_size_in_single_precision():
    logits, target = random_case((2, 30, 40, 8))
    torch.testing.assert_close(
        lovasz(logits.float(), target).double(),
        lovasz(logits, target),
        rtol=1e-5,
        atol=0,
    )


def test_flow_by_hand():
    """Weights 5.1 and 0.1, L1 errors 1 and 2."""
    target_flow = torch.tensor([[3.0, 0.0], [4.0, 0.0]]).view(1, 2, 2, 1, 1)
    flow = torch.tensor([[3.0, 1.0], [3.0, -1.0]]).view(1, 2, 2, 1, 1)
    occ = torch.zeros(1, 2, 1, 1, dtype=torch.long)
    loss = flow_l1_loss(flow, target_flow, occ)
    assert float(loss) == pytest.approx((5.1 * 1 + 0.1 * 2) / 5.2)
