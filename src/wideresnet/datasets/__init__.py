"""Labelled images from class folders, CIFAR, SVHN, ImageNet, tar and Parquet shards, and tables of paths and classes.

``open.open_labelled`` recognises all of them; ``train_val_split.open_split`` makes training and validation sets.
"""
