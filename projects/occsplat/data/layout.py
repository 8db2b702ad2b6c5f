"""Where the files of a nuScenes-like data set lie below its root."""

from __future__ import annotations

from dataclasses import dataclass

#: order of the cameras in every tensor
CAMERAS = (
    'CAM_FRONT_LEFT',
    'CAM_FRONT',
    'CAM_FRONT_RIGHT',
    'CAM_BACK_LEFT',
    'CAM_BACK',
    'CAM_BACK_RIGHT',
)


@dataclass(frozen=True)
class LabelSet:
    """One set of ``labels.npz`` files.

    Attributes:
        title: what people call it.
        folder: its folder below the root.
    """

    title: str
    folder: str

    def path(self, scene_name: str, token: str) -> str:
        """A key frame's file, relative to the root."""
        return f'{self.folder}/{scene_name}/{token}/labels.npz'


#: by the info field that holds the path
LABEL_SETS = dict(
    occ3d_path=LabelSet('Occ3D labels', 'gts'),
    openocc_path=LabelSet('OpenOcc labels', 'openocc_v2'),
    visibility_path=LabelSet('visibility masks', 'openocc_v2_ray_mask'),
)


def info_file(split: str) -> str:
    """Name of the info file of 'train', 'val' or 'test'."""
    return f'occsplat_infos_{split}.pkl'
