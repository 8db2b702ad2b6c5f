"""Pictures of occupancy without OpenGL, a display or a GUI.

Needs numpy, numba (through ``occsplat.ops``), scipy, opencv and Pillow >=
10.1, which mmengine, mmcv and torchvision bring along. All images are RGB,
uint8 (H, W, 3).
"""

from .bev import BevMap, bev_image, draw_boxes_bev
from .boxes import Boxes
from .camera_overlays import (
    draw_boxes_image,
    draw_lidar,
    lidar_view,
    overlay,
)
from .colors import flow_colors, flow_key, volume_colors
from .drive import drive_film, drive_fps, drive_frame
from .files import write_gif, write_png
from .film import FilmFrame, film_frame, scene_film
from .flight import FlightFrame, flight_film, flight_frame
from .gallery import write_gallery
from .input_sheet import input_sheet
from .sample_sheet import (
    frame_sheet,
    sample_sheet,
    save_sample_sheet,
    volume_panels,
)
from .sheet import contact_sheet, legend
from .video import import_ffmpeg, write_mp4
from .voxel_views import VoxelHits, cast_views, chase_rig, render_occupancy

__all__ = [
    'BevMap',
    'Boxes',
    'FilmFrame',
    'FlightFrame',
    'VoxelHits',
    'bev_image',
    'cast_views',
    'chase_rig',
    'contact_sheet',
    'draw_boxes_bev',
    'draw_boxes_image',
    'draw_lidar',
    'drive_film',
    'drive_fps',
    'drive_frame',
    'film_frame',
    'flight_film',
    'flight_frame',
    'flow_colors',
    'flow_key',
    'frame_sheet',
    'import_ffmpeg',
    'input_sheet',
    'legend',
    'lidar_view',
    'overlay',
    'render_occupancy',
    'sample_sheet',
    'save_sample_sheet',
    'scene_film',
    'volume_colors',
    'volume_panels',
    'write_gallery',
    'write_gif',
    'write_mp4',
    'write_png',
]
