"""The networks as torch modules, for training and as reference of the exported graphs (extra ``train``)."""

from wideresnet.models.create import create_model, zero_branches

__all__ = ["create_model", "zero_branches"]
