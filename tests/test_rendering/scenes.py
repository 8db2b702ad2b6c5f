"""Scenes, cameras and a brute-force renderer for the tests.

The renderer is the definition, spelled out: every Gaussian at every
pixel, in double precision, without tiles, boxes or lists.
"""

import math

import torch
from torch.nn import functional as F

WIDTH, HEIGHT = 50, 37  # neither is a multiple of the tile size


def pinhole(count=1, focal=45.0):
    """Cameras at the origin that look along z, each turned a little."""
    K = torch.tensor(
        [[focal, 0, 24.0], [0, 1.1 * focal, 19.5], [0, 0, 1]]
    ).repeat(count, 1, 1)
    views = torch.eye(4).repeat(count, 1, 1)
    for n in range(count):
        a, b = 0.15 * n, -0.1 * n
        views[n, :3, :3] = torch.tensor(
            [[math.cos(a), 0, -math.sin(a)], [0, 1, 0],
             [math.sin(a), 0, math.cos(a)]]
        ) @ torch.tensor(
            [[1, 0, 0], [0, math.cos(b), -math.sin(b)],
             [0, math.sin(b), math.cos(b)]]
        )  # fmt: skip
        views[n, :3, 3] = torch.tensor([0.1 * n, -0.2 * n, 0.3 * n])
    return views, K


def ortho():
    """A camera at z = 0 that looks along z, 8 pixels per metre."""
    K = torch.tensor([[[8.0, 0, 25.0], [0, 7.0, 18.0], [0, 0, 1]]])
    return torch.eye(4)[None], K


def random_scene(
    count=60, channels=5, seed=0, rotated=False, dtype=None, spread=1.0
):
    """Gaussians of all shapes in front of the cameras above.

    A spread above 1 puts many of them beside the image. Returns a dict of
    means, scales, opacities, features and, if rotated, quats.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(low, high, *shape):
        x = torch.rand(*shape, generator=generator, dtype=torch.float64)
        return low + (high - low) * x

    z = uniform(2, 12, count)
    scene = dict(
        means=torch.stack(
            (
                spread * z * uniform(-0.65, 0.65, count),
                spread * z * uniform(-0.5, 0.5, count),
                z,
            ),
            dim=1,
        ),
        scales=spread * uniform(0.1, 0.6, count, 3),
        opacities=uniform(0.05, 0.95, count),
        features=uniform(-1, 1, count, channels),
    )
    if rotated:
        scene['quats'] = uniform(-1, 1, count, 4)
    return {k: v.to(dtype or torch.float32) for k, v in scene.items()}


def differentiable(scene, dtype=torch.float32):
    """Fresh leaves of another type."""
    return {
        k: v.detach().to(dtype, copy=True).requires_grad_()
        for k, v in scene.items()
    }


def brute_force(
    means,
    scales,
    opacities,
    features,
    viewmats,
    Ks,
    width,
    height,
    quats=None,
    background=None,
    near=0.1,
    far=1e10,
    eps2d=0.3,
    max_alpha=0.999,
    camera_model='pinhole',
):
    """The definition. Returns features, depth and alpha in float64."""
    means, scales, opacities, features = (
        x.double() for x in (means, scales, opacities, features)
    )
    covariances = torch.diag_embed(scales**2)
    if quats is not None:
        R = _rotation(quats.double())
        covariances = R @ covariances @ R.transpose(1, 2)
    ys, xs = torch.meshgrid(
        *(torch.arange(n).double() + 0.5 for n in (height, width)),
        indexing='ij',
    )
    images, depths, alphas = [], [], []
    for view, K in zip(viewmats.double(), Ks.double()):
        points = means @ view[:3, :3].T + view[:3, 3]
        order = sorted(
            (z, g)
            for g, z in enumerate(points[:, 2].tolist())
            if near <= z <= far
        )
        left = torch.ones(height, width, dtype=torch.float64)
        open_pixels = torch.ones(height, width, dtype=torch.bool)
        image = torch.zeros(height, width, features.shape[1]).double()
        depth = torch.zeros(height, width, dtype=torch.float64)
        for _, g in order:
            centre, J = _jacobian(points[g], K, width, height, camera_model)
            R = view[:3, :3]
            cov = J @ R @ covariances[g] @ R.T @ J.T
            cov = cov + eps2d * torch.eye(2).double()
            inverse = torch.linalg.inv(cov)
            d = torch.stack((centre[0] - xs, centre[1] - ys), dim=-1)
            sigma = 0.5 * torch.einsum('hwi,ij,hwj->hw', d, inverse, d)
            alpha = (opacities[g] * torch.exp(-sigma)).clamp(max=max_alpha)
            behind = left * (1 - alpha)
            open_pixels = open_pixels & ~(
                (alpha >= 1 / 255) & (behind <= 1e-4)
            )
            hit = open_pixels & (alpha >= 1 / 255)
            weight = torch.where(hit, alpha * left, 0.0)
            image = image + weight[..., None] * features[g]
            depth = depth + weight * points[g, 2]
            left = torch.where(hit, behind, left)
        if background is not None:
            image = image + left[..., None] * background.double()
        images.append(image)
        depths.append(depth)
        alphas.append(1 - left)
    return torch.stack(images), torch.stack(depths), torch.stack(alphas)


def _rotation(quats):
    """Columns are the images of the axes under v -> q v q*."""
    q = F.normalize(quats, dim=-1)
    w, u = q[:, :1, None], q[:, None, 1:]
    axes = torch.eye(3).double().expand(len(q), 3, 3)
    cross = torch.linalg.cross(u.expand_as(axes), axes)
    turned = (
        axes + 2 * w * cross + 2 * torch.linalg.cross(u.expand_as(axes), cross)
    )
    return turned.transpose(1, 2)


def _jacobian(point, K, width, height, camera_model):
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    x, y, z = point
    zero = torch.zeros_like(z)
    if camera_model == 'ortho':
        J = torch.stack((fx, zero, zero, zero, fy, zero)).view(2, 3)
        return (fx * x + cx, fy * y + cy), J
    tan_x, tan_y = 0.5 * width / fx, 0.5 * height / fy
    tx = z * (x / z).clamp(
        -(cx / fx + 0.3 * tan_x), (width - cx) / fx + 0.3 * tan_x
    )
    ty = z * (y / z).clamp(
        -(cy / fy + 0.3 * tan_y), (height - cy) / fy + 0.3 * tan_y
    )
    J = torch.stack(
        (fx / z, zero, -fx * tx / z**2, zero, fy / z, -fy * ty / z**2)
    ).view(2, 3)
    return (fx * x / z + cx, fy * y / z + cy), J
