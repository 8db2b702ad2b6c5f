"""The classes of MiniTown: nuScenes categories and what labels call them.

Inside the town a class is the index of one of the 32 general nuScenes
categories, the vocabulary of annotations and of lidarseg. Occupancy ids
derive from it by name.

Objects that Occ3D calls 'others' (animals, debris, strollers, ...) have no
OpenOcc class; they become 'manmade' there, so that a voxel is occupied in
both label sets or in neither. None of them moves, so 'manmade' has no flow.
SurroundOcc calls them noise, and readers turn noise into 'ignore'.
"""

from __future__ import annotations

import numpy as np

from ..structures import LabelSpec

#: (nuScenes category, name in the occupancy label sets) by lidarseg index
_TABLE = (
    ('noise', 'free'),
    ('animal', 'others'),
    ('human.pedestrian.adult', 'pedestrian'),
    ('human.pedestrian.child', 'pedestrian'),
    ('human.pedestrian.construction_worker', 'pedestrian'),
    ('human.pedestrian.personal_mobility', 'others'),
    ('human.pedestrian.police_officer', 'pedestrian'),
    ('human.pedestrian.stroller', 'others'),
    ('human.pedestrian.wheelchair', 'others'),
    ('movable_object.barrier', 'barrier'),
    ('movable_object.debris', 'others'),
    ('movable_object.pushable_pullable', 'others'),
    ('movable_object.trafficcone', 'traffic_cone'),
    ('static_object.bicycle_rack', 'others'),
    ('vehicle.bicycle', 'bicycle'),
    ('vehicle.bus.bendy', 'bus'),
    ('vehicle.bus.rigid', 'bus'),
    ('vehicle.car', 'car'),
    ('vehicle.construction', 'construction_vehicle'),
    ('vehicle.emergency.ambulance', 'others'),
    ('vehicle.emergency.police', 'others'),
    ('vehicle.motorcycle', 'motorcycle'),
    ('vehicle.trailer', 'trailer'),
    ('vehicle.truck', 'truck'),
    ('flat.driveable_surface', 'driveable_surface'),
    ('flat.other', 'other_flat'),
    ('flat.sidewalk', 'sidewalk'),
    ('flat.terrain', 'terrain'),
    ('static.manmade', 'manmade'),
    ('static.other', 'others'),
    ('static.vegetation', 'vegetation'),
    ('vehicle.ego', 'others'),
)

#: nuScenes category names by lidarseg index
CATEGORIES = tuple(category for category, _ in _TABLE)

EMPTY = 0
ROAD = CATEGORIES.index('flat.driveable_surface')
OTHER_FLAT = CATEGORIES.index('flat.other')
SIDEWALK = CATEGORIES.index('flat.sidewalk')
TERRAIN = CATEGORIES.index('flat.terrain')
MANMADE = CATEGORIES.index('static.manmade')
VEGETATION = CATEGORIES.index('static.vegetation')


def occupancy_ids(spec: LabelSpec) -> np.ndarray:
    """Look-up table from lidarseg index to the ids of a label set.

    Args:
        spec: the label set; without an 'others' class, others are manmade.

    Returns:
        np.ndarray: uint8, shape (32,).
    """
    names = [name for _, name in _TABLE]
    if 'others' not in spec.classes:
        names = ['manmade' if name == 'others' else name for name in names]
    return np.array([spec.classes.index(name) for name in names], np.uint8)


def surroundocc_ids() -> np.ndarray:
    """Look-up table from lidarseg index to the classes of SurroundOcc files.

    Returns:
        np.ndarray: uint8, shape (32,); 0 is noise. Empty space has no
            place in these files.
    """
    ids = occupancy_ids(LabelSpec.named('surroundocc'))
    ids[[name == 'others' for _, name in _TABLE]] = 0
    return ids


#: attributes of nuScenes; an object has at most one
ATTRIBUTES = (
    'vehicle.moving',
    'vehicle.stopped',
    'vehicle.parked',
    'cycle.with_rider',
    'cycle.without_rider',
    'pedestrian.sitting_lying_down',
    'pedestrian.standing',
    'pedestrian.moving',
)


def attribute_of(category: str, speed: float, rider: bool) -> str | None:
    """The nuScenes attribute of an object.

    Args:
        category: nuScenes category name.
        speed: metres per second.
        rider: whether a cycle carries one.

    Returns:
        str | None: None for what nuScenes gives no attribute.
    """
    moving = speed > 0.2
    if category in ('vehicle.bicycle', 'vehicle.motorcycle'):
        return 'cycle.with_rider' if rider else 'cycle.without_rider'
    if category.startswith('vehicle.'):
        return 'vehicle.moving' if moving else 'vehicle.parked'
    if category.startswith('human.pedestrian.'):
        return 'pedestrian.moving' if moving else 'pedestrian.standing'
    return None
