"""An interactive view of a scene, in one HTML file without a network.

``world.js`` draws with three.js, which lies beside it as ``three.js``, one
file made of the npm package; ``three_exports.js`` says how.
"""

from .frame import ViewerFrame, viewer_frame
from .live import LiveViewer
from .page import write_viewer

__all__ = ['LiveViewer', 'ViewerFrame', 'viewer_frame', 'write_viewer']
