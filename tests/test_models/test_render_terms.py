"""Sums of image losses over views and draws of views."""

from itertools import combinations

import pytest
import torch

from occsplat.models.render_heads.render_terms import RenderTerms
from occsplat.rendering import RenderOutput

S = 3


def images(views=4, flow=True, seed=0):
    g = torch.Generator().manual_seed(seed)
    alpha = torch.rand(views, 5, 6, generator=g)
    alpha[torch.rand(views, 5, 6, generator=g) < 0.4] = 0
    channels = S + 2 * flow
    features = torch.rand(views, 5, 6, channels, generator=g)
    return RenderOutput(features * alpha[..., None], 10 * alpha, alpha)


def some(out, views):
    return RenderOutput(
        out.features[views], out.depth[views], out.alpha[views]
    )


@pytest.mark.parametrize('expected_depth', [False, True])
@pytest.mark.parametrize('count', [1, 3])
def test_the_mean_over_all_draws_of_views_is_the_loss_of_all(
    count, expected_depth
):
    predicted, labelled = images(seed=1), images(seed=2)
    known = (torch.rand(4, 5, 6) > 0.2).float()
    whole = RenderTerms(S, expected_depth)
    whole.add(predicted, labelled, known=known)
    draws = []
    for chosen in combinations(range(4), count):
        views = torch.tensor(chosen)
        terms = RenderTerms(S, expected_depth)
        terms.add(some(predicted, views), labelled, views, known)
        draws.append(terms)
    for name in ('semantic', 'depth', 'alpha', 'flow'):
        mean = sum(getattr(t, name)() for t in draws) / len(draws)
        torch.testing.assert_close(mean, getattr(whole, name)())


def test_every_pixel_of_a_batch_counts_the_same():
    a, b, c, d = (images(views=2, seed=k) for k in range(4))
    together = RenderTerms(S)
    together.add(a, b)
    together.add(c, d)

    def joined(x, y):
        return RenderOutput(
            torch.cat([x.features, y.features]),
            torch.cat([x.depth, y.depth]),
            torch.cat([x.alpha, y.alpha]),
        )

    once = RenderTerms(S)
    once.add(joined(a, c), joined(b, d))
    for name in ('semantic', 'depth', 'alpha', 'flow'):
        torch.testing.assert_close(
            getattr(together, name)(), getattr(once, name)()
        )


def test_terms_of_two_pixels_by_hand():
    logits = torch.tensor([[[[0.0, 0.0, 0.0]], [[2.0, 0.0, 0.0]]]])
    target = torch.tensor([[[[0.0, 0.0, 0.0]], [[0.8, 0.0, 0.0]]]])
    predicted = RenderOutput(
        logits, torch.tensor([[[1.0], [6.0]]]), torch.tensor([[[0.5], [1.0]]])
    )
    labelled = RenderOutput(
        target, torch.tensor([[[0.0], [4.0]]]), torch.tensor([[[0.0], [0.8]]])
    )
    terms = RenderTerms(S)
    terms.add(predicted, labelled)
    # only the second pixel is foreground; the others count every pixel
    entropy = -0.8 * float(torch.tensor([2.0, 0, 0]).log_softmax(0)[0])
    assert float(terms.semantic()) == pytest.approx(entropy)
    assert float(terms.depth()) == pytest.approx((1 + 2) / 2)
    assert float(terms.alpha()) == pytest.approx((0.5 + 0.2) / 2)
    assert float(terms.flow()) == 0
    terms = RenderTerms(S, expected_depth=True)
    terms.add(predicted, labelled)
    # 6 / 1 against 4 / 0.8, where the labels see something
    assert float(terms.depth()) == pytest.approx(1.0)


def test_what_can_not_be_known_does_not_count():
    predicted, labelled = images(seed=1), images(seed=2)
    terms = RenderTerms(S)
    terms.add(predicted, labelled, known=torch.zeros(4, 5, 6))
    for name in ('semantic', 'depth', 'alpha', 'flow'):
        assert float(getattr(terms, name)()) == 0


def test_a_view_without_foreground_is_no_division_by_zero():
    empty = RenderOutput(
        torch.zeros(1, 2, 2, S), torch.zeros(1, 2, 2), torch.zeros(1, 2, 2)
    )
    for expected_depth in (False, True):
        terms = RenderTerms(S, expected_depth)
        terms.add(empty, empty)
        assert float(terms.semantic()) == float(terms.depth()) == 0
