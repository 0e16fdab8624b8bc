"""Adversarial Autoencoders (Makhzani et al., arXiv 1511.05644v2), section by section."""

from typing import Literal

__version__ = "0.1.0"

Setting = Literal["laptop", "paper"]
"""Of a recipe: ours for two processor cores, or the paper's own. Here, where no PyTorch is loaded yet."""
