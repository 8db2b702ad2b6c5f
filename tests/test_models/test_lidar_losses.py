"""Losses at labelled pixels."""

import math

import pytest
import torch

from occsplat.models.losses import (
    balanced_cross_entropy,
    distortion_loss,
    silog_loss,
)


def test_a_perfect_depth_costs_next_to_nothing():
    depth = torch.tensor([1.0, 20.0])
    assert silog_loss(depth, depth) < 2e-4


def test_a_wrong_scale_is_free_only_with_full_variance_focus():
    true = torch.tensor([2.0, 5.0, 40.0])
    assert silog_loss(3 * true, true, variance_focus=1.0) < 2e-4
    expected = math.sqrt(0.15) * math.log(3)
    assert silog_loss(3 * true, true) == pytest.approx(expected, rel=1e-5)


def test_silog_by_hand_with_pixel_weights():
    true, predicted = torch.tensor([1.0, 1.0]), torch.tensor([1.0, math.e])
    # d = (0, -1), weights (1, 0.1)
    value = silog_loss(predicted, true, torch.tensor([1.0, 0.1]), 0.5)
    assert value == pytest.approx(math.sqrt(0.05 - 0.5 * 0.05**2), rel=1e-5)


def test_nothing_rendered_has_a_finite_loss_and_slope():
    predicted = torch.zeros(3, requires_grad=True)
    loss = silog_loss(predicted, torch.tensor([1.0, 2.0, 3.0]))
    loss.backward()
    assert loss.isfinite() and predicted.grad.isfinite().all()


def test_cross_entropy_by_hand():
    logits = torch.zeros(2, 3)
    label, balance = torch.tensor([0, 2]), torch.tensor([1.0, 5.0, 3.0])
    value = balanced_cross_entropy(logits, label, balance)
    assert value == pytest.approx(math.log(3))
    # what the weight takes from the second pixel the first does not get
    value = balanced_cross_entropy(
        logits, label, balance, torch.tensor([1.0, 0.0])
    )
    assert value == pytest.approx(math.log(3) / 4)


@pytest.mark.parametrize('loss', [silog_loss, balanced_cross_entropy])
def test_no_pixel_no_loss_but_a_graph(loss):
    if loss is silog_loss:
        found = torch.zeros(0, requires_grad=True)
        value = loss(found, torch.zeros(0))
    else:
        found = torch.zeros(0, 3, requires_grad=True)
        value = loss(found, torch.zeros(0).long(), torch.ones(3))
    value.backward()
    assert value == 0 and found.grad is not None


def test_distortion_is_the_double_sum():
    torch.manual_seed(0)
    weights = torch.rand(4, 6, dtype=torch.float64)
    depths = (torch.arange(6, dtype=torch.float64) + 0.5) / 6
    apart = (depths[:, None] - depths).abs()
    pairs = torch.einsum('pi,pj,ij->p', weights, weights, apart)
    expected = pairs + (weights**2).sum(dim=1) / 18
    torch.testing.assert_close(distortion_loss(weights, depths), expected)
