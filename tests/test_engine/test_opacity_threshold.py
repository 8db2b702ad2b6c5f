"""An opacity threshold goes where the weights go."""

import pytest
import torch
from mmengine.logging import HistoryBuffer
from torch import nn

from occsplat.engine import (
    CheckpointError,
    ConfigError,
    load_model_weights,
    opacity_threshold,
    read_checkpoint,
    threshold_head,
    threshold_meta,
    update_meta,
)
from occsplat.engine.opacity_threshold import OPTION
from occsplat.models.heads import OccHead
from occsplat.structures import DataError, OccPrediction


def model_of(threshold):
    model = nn.Module()
    model.occ_head = OccHead(
        4,
        num_levels=1,
        channels=4,
        upsample=1,
        opacity_threshold=threshold,
        label_spec='openocc',
    )
    return model


def save(path, model, **more):
    torch.save(dict(state_dict=model.state_dict(), **more), path)
    return path


@pytest.fixture
def calibrated(tmp_path):
    """A checkpoint with threshold 0.3."""
    path = save(tmp_path / 'a.pth', model_of(0.1), meta=dict(epoch=5))
    update_meta(path, threshold_meta(0.3, 'best RayIoU of 4 thresholds'))
    return path


@pytest.fixture
def said(monkeypatch):
    """What is logged while weights are loaded."""
    lines = []
    monkeypatch.setattr(
        opacity_threshold, 'print_log', lambda text, **_: lines.append(text)
    )
    return lines


def test_loading_sets_the_threshold_and_says_so(calibrated, said):
    model = model_of(0.1)
    meta = load_model_weights(model, calibrated)
    assert model.occ_head.opacity_threshold == 0.3
    assert meta['opacity_threshold'] == 0.3 and meta['epoch'] == 5
    assert len(said) == 1 and 'best RayIoU of 4 thresholds' in said[0]
    assert '0.3' in said[0] and 'used instead of 0.1' in said[0]


def test_it_changes_what_is_predicted(calibrated):
    model = model_of(0.1)
    free = model.occ_head.spec.free
    logits = torch.zeros(1, free + 1, 1, 1, 1)
    # a voxel of opacity 0.2: something at 0.1, nothing at 0.3
    logits[0, free] = torch.log(torch.tensor(4.0 * free))
    prediction = OccPrediction(logits=logits)
    before = model.occ_head.predict(prediction)[0].item()
    load_model_weights(model, calibrated)
    after = model.occ_head.predict(prediction)[0].item()
    assert before != free and after == free


def test_the_command_line_wins(calibrated, said):
    model = model_of(0.1)
    load_model_weights(model, calibrated, {OPTION: 0.1})
    assert model.occ_head.opacity_threshold == 0.1
    assert 'not used: 0.1 was given on the command line' in said[0]
    # other options do not
    load_model_weights(model, calibrated, {'model.occ_head.channels': 4})
    assert model.occ_head.opacity_threshold == 0.3


def test_a_head_of_the_likeliest_class_stays_one(calibrated, said):
    model = model_of(None)
    load_model_weights(model, calibrated)
    assert model.occ_head.opacity_threshold is None
    assert 'not used: OccHead predicts without one' in said[0]


def test_without_a_stored_threshold_the_config_counts(tmp_path, said):
    model = model_of(0.1)
    load_model_weights(model, save(tmp_path / 'a.pth', model, meta={}))
    assert model.occ_head.opacity_threshold == 0.1 and not said


@pytest.mark.parametrize('bad', [0.0, 1.5, True, 'a', float('nan')])
def test_a_wrong_threshold_is_refused_before_weights_change(tmp_path, bad):
    path = save(
        tmp_path / 'a.pth', model_of(0.1), meta=dict(opacity_threshold=bad)
    )
    model = model_of(0.2)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=r'a\.pth.*between 0 and 1'):
        load_model_weights(model, path)
    assert model.occ_head.opacity_threshold == 0.2
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_everything_else_in_the_file_stays(tmp_path):
    model = model_of(0.1)
    hub = dict(log_scalars=dict(loss=HistoryBuffer([1.0, 2.0], [1, 1])))
    path = save(
        tmp_path / 'epoch_1.pth',
        model,
        meta=dict(epoch=1, run_state=dict(place=3)),
        optimizer=dict(state={}, param_groups=[dict(lr=0.1)]),
        message_hub=hub,
    )
    update_meta(path, threshold_meta(0.3, 'by eye'))
    content = read_checkpoint(path)
    assert content['meta'] == dict(
        epoch=1,
        run_state=dict(place=3),
        opacity_threshold=0.3,
        opacity_threshold_found='by eye',
    )
    assert content['optimizer']['param_groups'] == [dict(lr=0.1)]
    kept = content['message_hub']['log_scalars']['loss']
    assert kept.data[0].tolist() == [1.0, 2.0]
    for key, value in model.state_dict().items():
        assert torch.equal(content['state_dict'][key], value), key
    assert [p.name for p in tmp_path.iterdir()] == ['epoch_1.pth']


def test_a_bare_state_dict_gets_a_meta(tmp_path):
    source, target = model_of(0.1), model_of(0.1)
    torch.save(source.state_dict(), tmp_path / 'a.pth')
    update_meta(tmp_path / 'a.pth', threshold_meta(0.4, 'by eye'))
    load_model_weights(target, tmp_path / 'a.pth')
    assert target.occ_head.opacity_threshold == 0.4
    for key, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[key], value), key


def test_a_file_that_can_not_be_written_stays(tmp_path, monkeypatch):
    path = save(tmp_path / 'a.pth', model_of(0.1), meta={})
    before = path.read_bytes()

    def full(content, part):
        part.write_bytes(b'half')
        raise OSError('no space left')

    monkeypatch.setattr(torch, 'save', full)
    with pytest.raises(DataError, match='a.pth: no space'):
        update_meta(path, threshold_meta(0.3, 'by eye'))
    assert path.read_bytes() == before


@pytest.mark.parametrize('head', [nn.Linear(1, 1), None])
def test_other_heads_are_named_with_what_to_do(head):
    model = nn.Module()
    model.occ_head = head
    with pytest.raises(ConfigError, match=f'{type(head).__name__}.*{OPTION}'):
        threshold_head(model)
    with pytest.raises(ConfigError, match='OccHead of model.occ_head'):
        threshold_head(model_of(None))
    assert threshold_head(model_of(0.1)).opacity_threshold == 0.1
