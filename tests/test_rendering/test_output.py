"""Depths and class images of what was rendered."""

import pytest
import torch
from scenes import HEIGHT, WIDTH, pinhole, random_scene

from occsplat.rendering import RenderOutput, rasterize

BACKENDS = pytest.mark.parametrize('backend', ['torch', 'numba'])


def on_axis(z, opacities, backend='numba', features=None):
    """Splats behind each other in the middle of one pixel."""
    count = len(z)
    means = torch.zeros(count, 3)
    means[:, 2] = torch.tensor(z)
    return rasterize(
        means,
        torch.full((count, 3), 0.3),
        torch.tensor(opacities),
        torch.eye(count) if features is None else features,
        torch.eye(4)[None],
        torch.tensor([[[20.0, 0, 4.5], [0, 20, 4.5], [0, 0, 1]]]),
        9,
        9,
        backend=backend,
    )


@BACKENDS
@pytest.mark.parametrize(
    'opacities, expected',
    [
        ([0.9, 0.9, 0.9], 2.0),
        ([0.3, 0.9, 0.9], 4.0),  # 1 - 0.3 is more than a half
        ([0.3, 0.2, 0.9], 6.0),
        ([0.3, 0.2, 0.1], 0.0),  # never half opaque
        ([0.51, 0.9, 0.9], 2.0),
        ([0.49, 0.9, 0.9], 4.0),
    ],
)
def test_first_hit_is_where_half_of_the_light_is_gone(
    backend, opacities, expected
):
    out = on_axis([2.0, 4.0, 6.0], opacities, backend)
    assert float(out.first_hit_depth()[0, 4, 4]) == expected
    assert not out.first_hit_depth().requires_grad


def test_first_hit_of_both_backends():
    viewmats, Ks = pinhole(2)
    hits = [
        rasterize(
            **random_scene(200, rotated=True),
            viewmats=viewmats,
            Ks=Ks,
            width=WIDTH,
            height=HEIGHT,
            backend=backend,
        ).first_hit_depth()
        for backend in ('torch', 'numba')
    ]
    assert 0.1 < float((hits[0] > 0).float().mean()) < 1
    different = (hits[0] - hits[1]).abs() > 1e-4
    # a transmittance of 0.5, give or take the last bit
    assert int(different.sum()) <= 1


def test_first_hit_lies_on_a_surface_where_the_mean_does_not():
    out = on_axis([2.0, 6.0], [0.6, 0.9])
    assert float(out.first_hit_depth()[0, 4, 4]) == 2
    assert 2.5 < float(out.expected_depth()[0, 4, 4]) < 4


def test_gsplat_does_not_tell_the_first_hit():
    image = torch.zeros(1, 2, 2)
    with pytest.raises(ValueError, match='gsplat'):
        RenderOutput(image[..., None], image, image).first_hit_depth()


@BACKENDS
def test_class_image(backend):
    features = torch.tensor([[0.0, 1, 0, 9], [0, 0, 1, 9]])
    out = on_axis([2.0, 6.0], [0.6, 0.9], backend, features)
    classes = out.class_image(3)
    assert classes.dtype == torch.uint8
    assert classes[0, 4, 4] == 1  # 0.6 of class 1, 0.4 * 0.9 of class 2
    assert classes[0, 0, 0] == 255  # alpha is below a half
    assert out.class_image(3, empty=7)[0, 0, 0] == 7
    assert 0 < float(out.alpha[0, 4, 0]) < 0.5
    assert out.class_image(3, min_alpha=0.0)[0, 4, 0] == 1


@pytest.mark.parametrize('num_classes', [0, 5, 300])
def test_class_image_needs_classes(num_classes):
    out = on_axis([2.0], [0.6], features=torch.ones(1, 4))
    with pytest.raises(ValueError, match=f'1 to 4.*got {num_classes}'):
        out.class_image(num_classes)
