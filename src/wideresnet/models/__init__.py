"""The networks as torch modules: the training and reference side of the project (extra ``train``)."""

from wideresnet.models.create import create_model

__all__ = ["create_model"]
