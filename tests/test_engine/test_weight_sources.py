"""Every name of a checkpoint leads through the one reader."""

import functools
import http.server
import os
import sys
import threading
import types

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.model import BaseModule
from mmengine.runner import CheckpointLoader
from mmengine.runner import checkpoint as mm_checkpoint
from torch import nn

from occsplat.engine import (
    CheckpointError,
    PublicWeights,
    load_model_weights,
    read_checkpoint,
    read_weights,
    write_safetensors,
)
from occsplat.engine.weight_sources import cached_file, local_file


class MakeFolder:
    """Unpickled by an unsafe loader, makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """The address of a folder with a good and a bad file, and a page."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    monkeypatch.setattr(torch.hub, '_hub_dir', None)
    for proxy in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
        monkeypatch.delenv(proxy, raising=False)
    folder = tmp_path / 'served'
    folder.mkdir()
    torch.save(Net().state_dict(), folder / 'good-0123abcd.pth')
    torch.save(MakeFolder(tmp_path / 'ran'), folder / 'bad.pth')
    (folder / 'page.pth').write_text('<html><body>sign in</body></html>')

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            """Says nothing."""

    with http.server.ThreadingHTTPServer(
        ('127.0.0.1', 0), functools.partial(Quiet, directory=folder)
    ) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield f'http://127.0.0.1:{served.server_port}'
        served.shutdown()
        thread.join()


class Net(BaseModule):
    def __init__(self, **more):
        super().__init__(**more)
        torch.manual_seed(1)
        self.layer = nn.Linear(2, 3)


def test_an_address_is_fetched_once_and_read(server, tmp_path):
    url = f'{server}/good-0123abcd.pth'
    model = Net()
    model.layer.weight.data.zero_()
    load_model_weights(model, url)
    assert torch.equal(model.layer.weight, Net().layer.weight)
    cache = tmp_path / 'cache/hub/checkpoints'
    assert [p.name for p in cache.iterdir()] == ['good-0123abcd.pth']
    (tmp_path / 'served/good-0123abcd.pth').unlink()
    assert local_file(url) == cache / 'good-0123abcd.pth'
    read_checkpoint(url)


def every_door(name):
    """All that open a checkpoint of this name."""
    from mmdet.models import SwinTransformer  # needs the shims

    yield lambda: read_checkpoint(name)
    yield lambda: load_model_weights(Net(), name)
    yield lambda: CheckpointLoader.load_checkpoint(name)
    yield lambda: mm_checkpoint.load_checkpoint(Net(), name)
    yield lambda: PublicWeights(name, 'r50_depth')(Net())
    for prefix in (None, 'layer'):
        pretrained = dict(type='Pretrained', checkpoint=name)
        if prefix:
            pretrained['prefix'] = prefix
        yield lambda p=pretrained: Net(init_cfg=p).init_weights()
    swin = dict(depths=(1,), num_heads=(1,), strides=(4,), out_indices=(0,))
    init = ConfigDict(type='Pretrained', checkpoint=name)
    yield SwinTransformer(embed_dims=8, init_cfg=init, **swin).init_weights


def test_no_door_runs_what_it_finds(server, tmp_path, monkeypatch):
    """Guards: mmengine hands addresses to an unguarded torch.load."""
    monkeypatch.setattr(
        mm_checkpoint,
        'get_torchvision_models',
        lambda: dict(bad=f'{server}/bad.pth'),
    )
    models = dict(bad=f'{server}/bad.pth')
    monkeypatch.setitem(
        local_file.__globals__['_MODELS'], 'torchvision', lambda: models
    )
    names = [f'{server}/bad.pth', 'torchvision://bad']
    names.append(str(tmp_path / 'served/bad.pth'))
    for name in names:
        for door in every_door(name):
            with pytest.raises(CheckpointError, match=r'posix\.mkdir|os\.mk'):
                door()
    assert not (tmp_path / 'ran').exists()
    # and it is not kept
    assert not cached_file(f'{server}/bad.pth').exists()


@pytest.mark.parametrize('scheme', ['s3', 'pavi', 'petrel', 'x:s3', 'ftp'])
def test_other_schemes_are_refused(scheme, tmp_path):
    for door in (read_checkpoint, CheckpointLoader.load_checkpoint):
        with pytest.raises(CheckpointError, match='cannot be fetched from'):
            door(f'{scheme}://somewhere/a.pth')


def test_without_a_network_one_line_tells_what_to_do(server):
    url = 'http://127.0.0.1:9/a.pth'
    with pytest.raises(CheckpointError, match='cannot be fetched') as error:
        read_checkpoint(url)
    text = str(error.value)
    assert str(cached_file(url)) in text and url in text
    with pytest.raises(CheckpointError, match='an HTML page'):
        read_checkpoint(f'{server}/page.pth')
    with pytest.raises(CheckpointError, match=r'cannot be fetched .*404'):
        read_checkpoint(f'{server}/nothing.pth')
    with pytest.raises(CheckpointError, match='cannot be fetched'):
        read_checkpoint('http://[broken/a.pth')


def test_two_addresses_never_share_a_file():
    one, two = (cached_file(f'http://{x}.org/best.pth') for x in 'ab')
    assert one != two and one.name.endswith('best.pth')


def test_published_names_are_looked_up(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        'occsplat.engine.weight_sources._fetched',
        lambda url: seen.append(url) or tmp_path,
    )
    for name in (
        'torchvision://resnet50',
        'torchvision://resnet50.imagenet1k_v2',
        'open-mmlab://resnet50_caffe',
        'open-mmlab://detectron2/resnet50_caffe',
        'mmcls://resnet18',
    ):
        local_file(name)
    assert len(seen) == 5 and all(u.startswith('http') for u in seen)
    with pytest.raises(CheckpointError, match='did you mean resnet50'):
        local_file('torchvision://resnet_50')


def test_pretrained_takes_what_fits_and_not_nothing(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(
        'occsplat.engine.weight_fit.print_log',
        lambda text, **_: said.append(text),
    )
    state = Net().state_dict()
    state['layer.bias'] = torch.zeros(9)
    state['fc.weight'] = torch.zeros(9)
    path = tmp_path / 'a.pth'

    def init(prefix='', given=None):
        weights = {prefix + key: value for key, value in state.items()}
        torch.save(dict(model=weights), path)
        cfg = dict(type='Pretrained', checkpoint=str(path))
        if given:
            cfg['prefix'] = given
        net = Net(init_cfg=cfg)
        net.layer.weight.data.zero_()
        net.init_weights()
        assert torch.equal(net.layer.weight, Net().layer.weight)

    init()
    assert '1 of 2 tensors taken; 1 of another shape (layer.bias)' in said[-1]
    assert '1 of it not used (fc.weight)' in said[-1]
    init('model.')
    init('model.backbone.', 'model.backbone')
    init('backbone.', 'backbone.')
    with pytest.raises(CheckpointError, match='0 of 2 tensors'):
        init('encoder.')
    with pytest.raises(CheckpointError, match="below prefix 'neck'"):
        init('backbone.', 'neck')


# --- the Hugging Face Hub --------------------------------------------------


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """What stands in for huggingface_hub; has one repository."""
    weights = Net().state_dict()
    torch.save(weights, tmp_path / 'good.pth')
    write_safetensors(tmp_path / 'good.safetensors', weights, {})
    (tmp_path / 'page.pth').write_text('<html>')

    def hf_hub_download(repo_id, filename):
        path = tmp_path / filename
        if repo_id != 'owner/name' or not path.exists():
            raise OSError('404: no such file')
        return str(path)

    module = types.ModuleType('huggingface_hub')
    module.hf_hub_download = hf_hub_download
    monkeypatch.setitem(sys.modules, 'huggingface_hub', module)


@pytest.mark.parametrize('suffix', ['pth', 'safetensors'])
def test_a_file_of_the_hub(hub, suffix):
    found = read_weights(f'hf://owner/name/good.{suffix}')['state_dict']
    assert found.keys() == Net().state_dict().keys()


@pytest.mark.parametrize(
    'name, message',
    [
        ('owner/name', 'expected hf://owner/name/file'),
        ('owner/other/good.pth', 'cannot be fetched .*404.*give its path'),
        ('owner/name/page.pth', 'is not a file of weights'),
    ],
)
def test_what_the_hub_cannot_give(hub, name, message):
    with pytest.raises(CheckpointError, match=message):
        read_weights(f'hf://{name}')


def test_without_the_hubs_package(monkeypatch):
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    with pytest.raises(CheckpointError, match=r'occsplat\[hub\]'):
        read_weights('hf://owner/name/good.pth')
