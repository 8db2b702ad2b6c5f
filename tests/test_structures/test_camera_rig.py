"""CameraRig: the pinhole convention."""

import pytest
import torch

from occsplat.structures import CameraRig


def make_rig(width=80, height=40):
    """One camera at the ego origin that looks along +x."""
    # camera axes in the reference frame: right = -y, down = -z, fwd = x
    ref2cam = torch.tensor(
        [
            [0.0, -1.0, 0.0, 0.0],
            [0.0, 0.0, -1.0, 0.0],
            [1.0, 0.0, 0.0, 0.0],
            [0.0, 0.0, 0.0, 1.0],
        ]
    )[None]
    K = torch.tensor([[50.0, 0, 40.0], [0, 50.0, 20.0], [0, 0, 1.0]])[None]
    return CameraRig.from_matrices(ref2cam, K, width, height)


def test_projection_of_known_points():
    points = torch.tensor([[10.0, 0, 0], [10.0, 2.0, 1.0], [-5.0, 0, 0]])
    uv, depth = make_rig().project(points)
    assert depth[0].tolist() == [10, 10, -5]
    assert uv[0, 0].tolist() == [40, 20]
    # to the left (y > 0) is a smaller u, above is a smaller v
    assert uv[0, 1].tolist() == [30, 15]


def test_scaled_halves_pixels_exactly():
    rig, points = make_rig(), torch.tensor([[10.0, 2.0, 1.0]])
    small = rig.scaled(0.5)
    assert (small.width, small.height) == (40, 20)
    torch.testing.assert_close(
        small.project(points)[0], rig.project(points)[0] / 2
    )


def test_img_aug_acts_on_pixels():
    rig, points = make_rig(), torch.tensor([[10.0, 2.0, 1.0]])
    rig.img_aug[0] = torch.tensor([[-1.0, 0, 80], [0, 1, 0], [0, 0, 1]])
    uv, _ = rig.project(points)
    assert uv[0, 0].tolist() == [80 - 30, 15]


def test_cam2ref_inverts_ref2cam():
    rig = make_rig()
    torch.testing.assert_close(rig.cam2ref @ rig.ref2cam, torch.eye(4)[None])


def test_stack_and_index_round_trip():
    rig = make_rig()
    both = CameraRig.stack([rig, rig.scaled(1.0)])
    assert both.ref2cam.shape == (2, 1, 4, 4)
    torch.testing.assert_close(both[1].K, rig.K)
    points = torch.zeros(2, 5, 3) + 1
    assert both.project(points)[0].shape == (2, 1, 5, 2)


def test_stack_refuses_different_sizes():
    with pytest.raises(ValueError, match='one image size'):
        CameraRig.stack([make_rig(), make_rig(width=81)])
