# MiniTowns of the bench; `bash tools/make_towns.sh` makes them.
train_towns = dict(
    # roots; of each the eight scenes of its train split
    data_root=[
        'data/minitown/',
        'data/minitown_town4/',
        'data/minitown_town5/',
    ]
)
val_town = dict(
    data_root='data/minitown_town9/',  # a town that is never trained on
    ann_file='occsplat_infos_train.pkl',  # its eight scenes; 'val' has two
)
