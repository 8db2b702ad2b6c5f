"""Packaging: projects/occsplat is importable as ``occsplat``.

``tools/install.sh`` installs everything. ``pip install .`` alone leaves out
the packages of requirements-mm.txt, which need ``--no-deps``.
"""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent


def requirements(name: str) -> list[str]:
    """Requirement lines of a file, comments removed."""
    lines = (ROOT / name).read_text(encoding='utf-8').splitlines()
    stripped = (line.split('#')[0].strip() for line in lines)
    return [line for line in stripped if line]


setup(
    name='occsplat',
    version='0.1.0',
    description='Gaussian-rendering losses for 3D occupancy networks',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10,<3.13',
    package_dir={'': 'projects'},
    packages=find_packages('projects', include=('occsplat', 'occsplat.*')),
    package_data={
        'occsplat': ['py.typed'],
        # what the page of the viewer is made of
        'occsplat.visualization.viewer': ['*.html', '*.css', '*.js'],
    },
    install_requires=requirements('requirements.txt'),
    extras_require={
        # the CUDA rasteriser; compiles itself on first use (needs nvcc)
        'gsplat': ['gsplat>=1.5.3,<1.6'],
        # checkpoints by hf://owner/name/file
        'hub': ['huggingface_hub>=0.23'],
        # tools/view.py --serve
        'viser': ['viser>=1.1,<2'],
        # tools/visualize.py --mp4 and --fly; brings its own ffmpeg
        'video': ['imageio-ffmpeg>=0.6,<1'],
        # scalars and pictures of a training, see docs/training.md
        'wandb': ['wandb>=0.31,<1'],
        'mlflow': ['mlflow>=3.17,<4'],
        # graphs for other runtimes, and one to check them with
        'export': ['onnx>=1.18', 'onnxscript>=0.5', 'onnxruntime>=1.22'],
        'dev': requirements('requirements-dev.txt'),
        # the site of the documents, which needs nothing else
        'docs': requirements('requirements-docs.txt'),
    },
)
