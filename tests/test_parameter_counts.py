"""Full-size models have the parameters that their layers add up to.

Every number follows from channels and kernel sizes alone: a layer that is
missing, doubled or of another width shows.
"""

from pathlib import Path

import pytest
from mmdet3d.registry import MODELS

from occsplat.engine import load_config

CONFIGS = Path(__file__).parents[1] / 'occupancy_configs'
#: ours knows 22 numbers of a camera
CAMERA = 22


def conv(c_in, c_out, volume):
    """Kernel of ``volume`` cells without bias, and a batch norm."""
    return volume * c_in * c_out + 2 * c_out


def linear(c_in, c_out):
    """Also a convolution of one pixel: weight and bias."""
    return c_in * c_out + c_out


def resnet50():
    def bottleneck(c_in, width, first):
        branch = (
            conv(c_in, width, 1)
            + conv(width, width, 9)
            + conv(width, 4 * width, 1)
        )
        return branch + first * conv(c_in, 4 * width, 1)

    total, c_in = conv(3, 64, 49), 64
    for width, depth in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for i in range(depth):
            total += bottleneck(c_in, width, first=i == 0)
            c_in = 4 * width
    return total


def internimage_xl():
    """See test_models/test_intern_image.py for the formula of a block."""
    total = 27 * 80 + 80 + 160 + 9 * 80 * 160 + 160 + 320
    for depth, c, groups in (
        (6, 160, 10),
        (6, 320, 20),
        (32, 640, 40),
        (6, 1280, 40),
    ):
        total += depth * (10 * c * c + 25 * c + 27 * groups * (c + 1))
    for c in (160, 320, 640):
        total += 9 * c * 2 * c + 2 * (2 * 2 * c)
    return total + 2 * 640 + 2 * 1280


def eva02_l():
    c, hidden = 1024, 2730  # two thirds of 4 c
    attention = 3 * c * c + 2 * c + linear(c, c)
    mlp = 2 * linear(c, hidden) + 2 * hidden + linear(hidden, c)
    block = attention + mlp + 2 * 2 * c
    return linear(3 * 16 * 16, c) + 14 * 14 * c + 24 * block


def swin_b():
    def block(c, heads):
        # queries, keys, values, output, a table of 23 x 23 offsets
        attention = linear(c, 3 * c) + linear(c, c) + 23 * 23 * heads
        return attention + linear(c, 4 * c) + linear(4 * c, c) + 2 * 2 * c

    total = linear(4 * 4 * 3, 128) + 2 * 128
    for i, depth in enumerate((2, 2, 18, 2)):
        total += depth * block(128 * 2**i, 4 * 2**i)
    for c in (128, 256, 512):
        # four patches become one of twice the width
        total += 4 * c * 2 * c + 2 * 4 * c
    return total + 2 * 512 + 2 * 1024


def neck(fine, coarse):
    return linear(fine, 256) + linear(coarse, 256) + 9 * 256 * 256 + 256


def depth_net(c_in, c=512, context=80, bins=80, cost=0):
    # the camera's embedding, and the excitation it drives
    gate = linear(CAMERA, c) + 3 * linear(c, c)
    pyramid = conv(c, c, 1) + 3 * conv(c, c, 9) + linear(c, c)
    pyramid += conv(5 * c, c, 1)
    depth = 3 * 2 * conv(c, c, 9) + pyramid + linear(c, bins)
    if cost:
        # the cost volume is reduced, and its channels join the first block
        depth += 2 * conv(cost, cost, 9) + 9 * cost * c + linear(c + cost, c)
    total = conv(c_in, c, 9) + 2 * CAMERA + 2 * gate
    return total + linear(c, context) + depth


def bevstereo_volume(frames):
    """What is behind the image features, one or two frames of 32 channels."""
    total = conv(32 * frames, 32, 1) + 2 * conv(32, 32, 27)
    for c_in, c, depth in ((32, 64, 2), (64, 128, 4)):
        total += conv(c_in, c, 27) + (2 * depth - 1) * conv(c, c, 27)
        total += conv(c_in, c, 1)
    return total + conv(32 + 64 + 128, 32, 1)


def stereo_lifter(c_in, c, cost):
    block = 2 * conv(32, 32, 27)
    return depth_net(c_in, c, context=32, bins=88, cost=cost) + block


def backward_projection():
    c, heads = 80, 8

    def attention(points):  # of a head
        moves, shares = (
            linear(c, 2 * heads * points),
            linear(c, heads * points),
        )
        return moves + shares + 2 * linear(c, c)

    queries = 100 * 100 * c + 2 * 100 * (c // 2)
    feedforward = linear(c, 320) + linear(320, c)
    # four points around a pillar; two around each of its four anchors
    return queries + attention(4) + attention(8) + feedforward + 3 * 2 * c


def history():
    return conv(81, 80, 1) + conv(17 * 80, 80, 1)


def volume_encoder():
    total = conv(80, 64, 1) + 4 * conv(64, 64, 27)
    for c_in, c in ((64, 128), (128, 256)):
        total += conv(c_in, c, 27) + 3 * conv(c, c, 27) + conv(c_in, c, 1)
    laterals = sum(conv(c, 256, 1) for c in (64, 128, 256))
    return total + laterals + 3 * conv(256, 256, 27)


def occ_head(classes, flow):
    def branch(out):
        return conv(128, 64, 1) + linear(64, out)

    total = conv(256, 128, 8) + 3 * conv(256, 128, 27) + branch(4)
    return total + branch(classes) + flow * branch(2)


def plane_decoupling(c):
    # 1x1, where a deformable convolution looks, and itself
    plane = linear(c, c) + 9 * c * 18 + 18 + conv(c, c, 9)
    # a weight of each voxel for each plane; what is spread is fused
    return 3 * c + 3 * plane + conv(c, c, 1)


def decoupled_encoder(c, width, host_levels):
    """Three levels, of which the coarsest is not decoupled."""
    fuse = conv(2 * width, width, 1) + conv(width, width, 27)
    total = (3 - host_levels) * conv(c, c, 27)
    # and a gain in each task
    total += 2 * 2 * (plane_decoupling(width) + fuse) + 2
    if width != c:  # three levels there in each task, back those with planes
        total += 2 * 3 * conv(c, width, 1)
        total += (min(host_levels, 2) + 1) * conv(width, c, 1)
    return total


def instance_aggregation(c, d):
    """Four layers: queries, keys, values, output and norm."""
    return 4 * (3 * conv(c, d, 1) + linear(d, c) + 2 * c)


def offset_branch(c):
    return conv(c, 64, 27) + linear(64, 6)


def aux_occ_head(classes):
    """An OccHead of 32 channels on the 80 of the lifted volume."""

    def branch(out):
        return conv(32, 16, 1) + linear(16, out)

    return conv(80, 32, 8) + conv(80, 32, 27) + branch(2) + branch(classes)


R50 = dict(img_backbone=resnet50(), img_neck=neck(1024, 2048))
VOLUME = dict(
    lifter=depth_net(256) + backward_projection(),
    history=history(),
    volume_encoder=volume_encoder(),
)
OPENOCC = dict(occ_head=occ_head(17, flow=True))
MODEL_PARTS = {
    'fbocc-r50_8xb2-48e_openocc': {**R50, **VOLUME, **OPENOCC},
    'fbocc-r50_8xb2-48e_surroundocc': {
        **R50,
        **VOLUME,
        'occ_head': occ_head(17, flow=False),
    },
    'fbocc-r50_16xb4-20e_occ3d': {
        **R50,
        **VOLUME,
        'occ_head': occ_head(18, flow=False),
    },
    'fbocc-internimage-xl_8xb2-24e_openocc': {
        'img_backbone': internimage_xl(),
        'img_neck': neck(640, 1280),
        **VOLUME,
        **OPENOCC,
    },
    'fbocc-eva02-l_8xb2-24e_openocc': {
        'img_backbone': eva02_l(),
        **VOLUME,
        'lifter': depth_net(1024) + backward_projection(),
        **OPENOCC,
    },
}


#: final convolution, 32 -> 64 -> 18
MLP_HEAD = dict(occ_head=27 * 32 * 32 + 32 + linear(32, 64) + linear(64, 18))
MODEL_PARTS |= {
    'bevdet-r50_8xb4-24e_occ3d-camera-mask': {
        **R50,
        'lifter': stereo_lifter(256, 256, cost=0),
        'volume_encoder': bevstereo_volume(frames=1),
        **MLP_HEAD,
    },
    'bevstereo-r50_8xb4-24e_occ3d': {
        **R50,
        'lifter': stereo_lifter(256, 256, cost=88),
        'volume_encoder': bevstereo_volume(frames=2),
        **MLP_HEAD,
    },
    'bevstereo-swin-b_32xb1-24e_occ3d': {
        'img_backbone': swin_b(),
        'img_neck': conv(512 + 1024, 512, 9) + conv(512, 512, 9),
        'lifter': stereo_lifter(512, 512, cost=88),
        'volume_encoder': bevstereo_volume(frames=2),
        **MLP_HEAD,
    },
}

MODEL_PARTS |= {
    'voxdet_fbocc-r50_8xb2-48e_openocc': {
        **MODEL_PARTS['fbocc-r50_8xb2-48e_openocc'],
        'offset_head': decoupled_encoder(256, 128, host_levels=3)
        + offset_branch(256)
        + instance_aggregation(256, 64)
        + aux_occ_head(17),
    },
    'voxdet_bevstereo-r50_8xb4-24e_occ3d': {
        **MODEL_PARTS['bevstereo-r50_8xb4-24e_occ3d'],
        'offset_head': decoupled_encoder(32, 32, host_levels=1)
        + offset_branch(32)
        + instance_aggregation(32, 32)
        # as the head, on two frames
        + MLP_HEAD['occ_head']
        + 27 * 32 * 32,
    },
}


#: what GaussRender's logs print as trainable parameters, render head included
PUBLISHED = {
    'tpvformer-r101_4xb1-20e_occ3d': (62_604_589, 256, 18),
    'tpvformer-r101_4xb1-20e_surroundocc': (62_604_075, 256, 17),
    'surroundocc-r101_4xb1-20e_surroundocc': (180_077_194, 32, 17),
    'surroundocc-r101_4xb1-20e_occ3d': (180_077_707, 32, 18),
}


def released_render_head(features, classes):
    """Its MLP predicts offset, classes, opacity, scale and rotation of each
    voxel, of which the loss reads the opacity."""
    return 2 * linear(features, features) + linear(
        features, 3 + classes + 1 + 3 + 4
    )


@pytest.mark.parametrize('name', PUBLISHED)
def test_gaussrenders_hosts_have_the_published_number(name, without_memory):
    (path,) = CONFIGS.glob(f'*/{name}.py')
    model = MODELS.build(load_config(path).model)
    learns = sum(p.numel() for p in model.parameters() if p.requires_grad)
    published, features, classes = PUBLISHED[name]
    # three of four level embeddings of each volume are not read
    unread = 3 * (128 + 256 + 512) if 'surroundocc-r101' in name else 0
    learns += released_render_head(features, classes) + unread
    assert learns == published


@pytest.mark.parametrize('name', MODEL_PARTS)
def test_every_part_has_the_parameters_of_its_layers(name, without_memory):
    (path,) = CONFIGS.glob(f'*/{name}.py')
    model = MODELS.build(load_config(path).model)
    counts = {
        part: sum(p.numel() for p in module.parameters())
        for part, module in model.named_children()
    }
    assert {k: v for k, v in counts.items() if v} == MODEL_PARTS[name]


def test_formulas_agree_with_published_sizes():
    # torchvision's ResNet-50 less its classifier of 1000 times 2049
    assert resnet50() == 25_557_032 - 2_049_000
    # torchvision's Swin-B of window 7 (13 x 13 offsets), less its classifier
    # of 1000 times 1025 and its norm; here are two norms, and window 12
    heads = 2 * 4 + 2 * 8 + 18 * 16 + 2 * 32
    assert swin_b() == (
        87_768_224 - 1_025_000 + 2 * 512 + (23 * 23 - 13 * 13) * heads
    )
    # the released VoxDet of 128 channels: 0.572 million in a block that
    # decouples, 4.19 million in two tasks of two levels
    assert plane_decoupling(128) == pytest.approx(0.572e6, rel=1e-3)
    assert decoupled_encoder(128, 128, 3) == pytest.approx(4.19e6, rel=1e-3)
    # the paper's EVA-02-L: 304 million, classifier included
    assert eva02_l() == pytest.approx(304e6, rel=0.005)


def test_a_render_head_has_none():
    cfg = load_config(
        CONFIGS / 'voxelsplat' / 'voxelsplat_fbocc-r50_8xb2-48e_openocc.py'
    )
    (head,) = cfg.model.render_heads
    assert not list(MODELS.build(head).parameters())
