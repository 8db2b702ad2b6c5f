"""What is drawn into photographs."""

import numpy as np
import pytest
import torch

from occsplat.structures import CameraRig, LabelSpec
from occsplat.visualization import (
    Boxes,
    draw_boxes_image,
    draw_lidar,
    lidar_view,
    overlay,
)

GREY = np.full((60, 80, 3), 100, dtype=np.uint8)


def camera() -> CameraRig:
    """Looks along x from the origin, 80 x 60 pixels."""
    ref2cam = torch.eye(4, dtype=torch.float64)
    ref2cam[:3, :3] = torch.tensor([[0, -1, 0], [0, 0, -1], [1, 0, 0]])
    K = torch.tensor([[40.0, 0, 40], [0, 40, 30], [0, 0, 1]]).double()
    return CameraRig.from_matrices(ref2cam[None], K[None], 80, 60)


def test_overlay_blends_inside_the_mask_only():
    painted = np.zeros_like(GREY)
    painted[..., 0] = 200
    mask = np.zeros(GREY.shape[:2], dtype=bool)
    mask[10:20, 30:40] = True
    mixed = overlay(GREY, painted, mask, alpha=0.5)
    assert mixed.shape == GREY.shape and mixed.dtype == np.uint8
    assert (mixed[~mask] == 100).all()
    assert (mixed[mask] == (150, 50, 50)).all()
    with pytest.raises(ValueError, match='mask.*expected shape'):
        overlay(GREY, painted, mask[1:])


def test_lidar_points_are_red_near_blue_far_and_never_behind():
    uv = np.array([[10.5, 10.5], [50.5, 10.5], [30.5, 40.5], [900, 3]])
    image = draw_lidar(GREY, uv, np.array([3.0, 48.0, -5.0, 3.0]))
    assert image[10, 10].argmax() == 0
    assert image[10, 50].argmax() == 2
    assert (image[40, 30] == 100).all()
    assert (GREY == 100).all()  # the input is left alone


def test_no_point_in_sight_leaves_the_image():
    uv, depth = np.full((2, 2), 5.0), np.full(2, -1.0)
    assert (draw_lidar(GREY, uv, depth) == GREY).all()


def test_nearer_point_is_on_top():
    uv = np.full((2, 2), 20.5)
    image = draw_lidar(GREY, uv, np.array([3.0, 48.0]))
    assert image[20, 20].argmax() == 0


def test_points_in_the_reference_frame_land_where_they_project():
    image = lidar_view(GREY, np.array([[10.0, 4.0, 2.0]]), camera())
    # left and up of the middle: u = 40 - 16, v = 30 - 8
    assert np.ptp(image[22, 24]) > 50
    assert (image[:18] == 100).all() and (image[27:] == 100).all()


def test_boxes_are_cut_at_the_lens():
    spec = LabelSpec.named('openocc')

    def drawn(x: float) -> np.ndarray:
        info = dict(bbox_3d=[x, 0, 0, 4, 2, 1.5, 0], bbox_label_3d=0)
        boxes = Boxes.from_instances([info], np.eye(4), dict(car=0), spec)
        image = draw_boxes_image(GREY, boxes, camera())
        return (image != GREY).any(axis=-1)

    ahead = drawn(12.0)
    rows, columns = np.nonzero(ahead)
    # near face at 10 m: 2 m wide and 1.5 m high
    # give or take the width of a line
    box = (columns.min(), columns.max(), rows.min(), rows.max())
    np.testing.assert_allclose(box, (36, 44, 27, 33), atol=2)
    assert drawn(1.0).any()  # around the camera: a part is visible
    assert not drawn(-8.0).any()
