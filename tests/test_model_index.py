"""model-index.yml: every config once, and no score that is not in the zoo."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
ZOO = (ROOT / 'docs' / 'model_zoo.md').read_text()
#: no models: parts of configs, and rows of a comparison
LEFT_OUT = {'_base_', 'bench'}
#: the others are per cent in the index and shares in the zoo
WITH_UNITS = {'mAVE', 'depth_L1'}


def read(name):
    return yaml.safe_load((ROOT / name).read_text())


METAFILES = {name: read(name) for name in read('model-index.yml')['Import']}
MODELS = [model for part in METAFILES.values() for model in part['Models']]


def with_key(key):
    return [model for model in MODELS if key in model]


def results(model):
    """The metrics of its only result, and what they were measured on."""
    (result,) = model['Results']
    assert set(result) == {'Task', 'Dataset', 'Metrics'}
    return result['Metrics'], result['Dataset']


def test_every_metafile_is_imported():
    found = ROOT.glob('occupancy_configs/*/metafile.yml')
    assert sorted(METAFILES) == sorted(str(p.relative_to(ROOT)) for p in found)


def test_every_config_is_a_model_once():
    configs = {
        str(path.relative_to(ROOT))
        for path in ROOT.glob('occupancy_configs/*/*.py')
        if path.parent.name not in LEFT_OUT
    }
    named = [model['Config'] for model in MODELS]
    assert sorted(named) == sorted(configs)
    assert [Path(name).stem for name in named] == [m['Name'] for m in MODELS]


@pytest.mark.parametrize('name', sorted(METAFILES))
def test_a_method_has_a_paper_and_its_own_models(name):
    (collection,) = METAFILES[name]['Collections']
    assert (ROOT / collection['README']).parent == (ROOT / name).parent
    assert collection['Paper']['Title']
    assert collection['Paper']['URL'].startswith('https://')
    for model in METAFILES[name]['Models']:
        assert model['In Collection'] == collection['Name']
        assert (ROOT / model['Config']).parent == (ROOT / name).parent


def test_collections_differ():
    names = [part['Collections'][0]['Name'] for part in METAFILES.values()]
    assert len(set(names)) == len(names)


def test_shipped_weights_have_the_scores_of_the_zoo():
    shipped = {
        str(path.relative_to(ROOT))
        for path in ROOT.glob('occupancy_configs/*/*.safetensors')
    }
    models = with_key('Weights')
    assert {model['Weights'] for model in models} == shipped
    head = next(x for x in ZOO.splitlines() if x.startswith('| weights'))
    names = [cell.strip() for cell in head.split('|')[2:-1]]
    for model in models:
        metrics, where = results(model)
        assert where.endswith('(measured with these weights)')
        assert Path(model['Weights']).stem == model['Name']
        row = re.search(rf'^\| `{model["Weights"]}` \|(.*)\|$', ZOO, re.M)
        cells = [cell.strip().partition(' ')[0] for cell in row[1].split('|')]
        assert {n: c for n, c in zip(names, cells) if c} == {
            name: f'{value:.2f}'
            if name in WITH_UNITS
            else f'{value / 100:.3f}'
            for name, value in metrics.items()
        }


def test_published_figures_are_those_that_the_zoo_expects():
    """Of networks that are converted; nobody else has a figure."""
    commands = re.findall(
        r'tools/test\.py (\S+) ckpts/\S+ --expect mIoU=([\d.]+)', ZOO
    )
    found = {}
    for model in with_key('Converted From'):
        metrics, where = results(model)
        assert where.endswith('(published, not repeated here)')
        assert model['Converted From']['Weights'].startswith('https://')
        assert 'Weights' not in model
        found[model['Config']] = metrics
    assert found == {
        config: dict(mIoU=float(value)) for config, value in commands
    }
    other = [m['Name'] for m in with_key('Results') if 'Weights' not in m]
    assert other == [m['Name'] for m in with_key('Converted From')]
