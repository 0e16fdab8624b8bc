"""Adversarial Autoencoders (Makhzani et al., arXiv 1511.05644v2), section by section."""

__version__ = "0.1.0"
