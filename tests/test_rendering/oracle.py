"""Brute force: every splat at every pixel, one after the other, fp64."""

import torch


def scene(count=60, seed=0, channels=5, low=0.2, high=0.8, spread=0.3):
    """Random Gaussians in front of cameras that look along +z."""
    g = torch.Generator().manual_seed(seed)

    def rand(*shape):
        return torch.rand(*shape, generator=g, dtype=torch.float64)

    means = (rand(count, 3) - 0.5) * torch.tensor([6.0, 4.0, 6.0])
    means[:, 2] += 6.0
    quats = torch.randn(count, 4, generator=g, dtype=torch.float64)
    return dict(
        means=means,
        scales=0.05 + spread * rand(count, 3),
        quats=quats,
        opacities=low + (high - low) * rand(count),
        features=rand(count, channels),
        background=rand(channels),
    )


def cameras(count=2, focal=30.0, width=40, height=28, model='pinhole'):
    """Slightly different poses around the origin."""
    g = torch.Generator().manual_seed(7)
    views = []
    for _ in range(count):
        tangent = 0.1 * torch.randn(3, generator=g, dtype=torch.float64)
        x, y, z = tangent.tolist()
        skew = torch.tensor(
            [[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64
        )
        view = torch.eye(4, dtype=torch.float64)
        view[:3, :3] = torch.linalg.matrix_exp(skew)
        view[:3, 3] = tangent
        views.append(view)
    if model == 'ortho':
        focal = 6.0
    K = torch.tensor(
        [[focal, 0, width / 2 - 1.3], [0, focal, height / 2 + 0.7], [0, 0, 1]],
        dtype=torch.float64,
    )
    return dict(
        viewmats=torch.stack(views),
        Ks=K.expand(count, 3, 3).clone(),
        width=width,
        height=height,
        camera_model=model,
    )


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
    """Images (N, H, W, C), depth and alpha, straight from the equations."""
    if background is None:
        background = features.new_zeros(features.shape[1])
    images, depths, alphas = [], [], []
    for view, K in zip(viewmats, Ks):
        local = means @ view[:3, :3].T + view[:3, 3]
        colour = [background.new_zeros(height, width, features.shape[1])]
        depth = [background.new_zeros(height, width)]
        light = background.new_ones(height, width)
        done = torch.zeros(height, width, dtype=torch.bool)
        order = sorted(
            range(len(means)), key=lambda i: (float(local[i, 2]), i)
        )
        for i in order:
            z = local[i, 2]
            if not near <= z <= far or opacities[i] < 1 / 255:
                continue
            mean, cov = _splat(
                local[i], scales[i], None if quats is None else quats[i],
                view[:3, :3], K, width, height, camera_model,
            )  # fmt: skip
            cov = cov + eps2d * torch.eye(2, dtype=cov.dtype)
            a, c = torch.linalg.inv(cov)[0, 0], torch.linalg.inv(cov)[1, 1]
            b = torch.linalg.inv(cov)[0, 1]
            x = torch.arange(width) + 0.5
            y = torch.arange(height) + 0.5
            dx, dy = mean[0] - x[None], mean[1] - y[:, None]
            sigma = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
            alpha = (opacities[i] * torch.exp(-sigma)).clamp(max=max_alpha)
            counts = (alpha >= 1 / 255) & ~done
            after = light * (1 - alpha)
            done = done | (counts & (after <= 1e-4))
            counts = counts & ~done
            weight = torch.where(counts, alpha * light, 0.0)
            colour.append(weight[..., None] * features[i])
            depth.append(weight * z)
            light = torch.where(counts, after, light)
        images.append(sum(colour) + light[..., None] * background)
        depths.append(sum(depth))
        alphas.append(1 - light)
    return torch.stack(images), torch.stack(depths), torch.stack(alphas)


def _splat(local, scale, quat, rotation, K, width, height, model):
    if quat is None:
        axes = torch.diag(scale)
    else:
        w, x, y, z = quat / quat.norm()
        axes = torch.stack([
            torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z),
                         2 * (x * z + w * y)]),
            torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z),
                         2 * (y * z - w * x)]),
            torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x),
                         1 - 2 * (x * x + y * y)]),
        ]) * scale  # fmt: skip
    x, y, z = local
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    zero = torch.zeros_like(z)
    if model == 'ortho':
        mean = torch.stack([fx * x + cx, fy * y + cy])
        jac = torch.stack([torch.stack([fx + zero, zero, zero]),
                           torch.stack([zero, fy + zero, zero])])  # fmt: skip
    else:
        mean = torch.stack([fx * x / z + cx, fy * y / z + cy])
        tx = z * (x / z).clamp(
            -(cx / fx + 0.15 * width / fx),
            (width - cx) / fx + 0.15 * width / fx,
        )
        ty = z * (y / z).clamp(
            -(cy / fy + 0.15 * height / fy),
            (height - cy) / fy + 0.15 * height / fy,
        )
        jac = torch.stack([torch.stack([fx / z, zero, -fx * tx / z**2]),
                           torch.stack([zero, fy / z, -fy * ty / z**2])])  # fmt: skip
    factor = jac @ rotation @ axes
    return mean, factor @ factor.T
