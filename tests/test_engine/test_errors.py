"""A user's mistake is told in one message, wherever it is found."""

import pytest
from torch.utils.data import DataLoader, Dataset

from occsplat.data import DataError
from occsplat.engine import ConfigError, user_errors


class DamagedSet(Dataset):
    def __init__(self, error):
        self.error = error

    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise self.error


@pytest.mark.parametrize('error', [DataError, FileNotFoundError])
@pytest.mark.parametrize('workers', [0, 1])
def test_a_damaged_file_is_one_line(error, workers):
    message = 'label file a.npz is damaged: copy it again'
    loader = DataLoader(DamagedSet(error(message)), num_workers=workers)
    with pytest.raises(SystemExit) as caught, user_errors():
        next(iter(loader))
    assert str(caught.value) == f'error: {message}'


def test_mistakes_of_our_own_keep_their_traceback():
    with pytest.raises(ValueError, match='ours'), user_errors():
        raise ValueError('ours')
    with pytest.raises(SystemExit, match='error: key'), user_errors():
        raise ConfigError('key')
