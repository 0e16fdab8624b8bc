"""From many clusters to few: a model starts from a wider one, with the clusters that nothing can replace.

Many clusters are easy to find and few are not: a digit that has no cluster of its own shares one with another
digit, and stays there. So the wide model is trained first, and then its clusters are given up one after the
other. Each time it is the one whose images its own decoder draws nearly as well with another y: no label and
no other method decides, only the reconstruction error that the model is trained on.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from aae_utils.recipes import in_chunks

IMAGES = 10_000
"""So many training images decide."""


@torch.no_grad()
def lasting_clusters(model: Any, images: Tensor, count: int) -> Tensor:
    """The `count` clusters `(count,)` of a two-code autoencoder that remain, in ascending order.

    One after the other, the cluster goes whose images can be drawn with another y at the least loss. Of the
    images `(N, D)` the first `IMAGES` count.
    """
    images = images[:IMAGES]
    cluster = in_chunks(model.predict, images).argmax(1)
    errors = reconstruction_errors(model, images)
    kept = torch.ones(model.classes, dtype=torch.bool, device=images.device)
    while int(kept.sum()) > count:
        gone = int(_losses(errors, cluster, kept).argmin())
        kept[gone] = False
        moved = cluster == gone
        cluster[moved] = errors[moved].masked_fill(~kept, torch.inf).argmin(1)
    return kept.nonzero().squeeze(1)


@torch.no_grad()
def reconstruction_errors(model: Any, images: Tensor) -> Tensor:
    """Half the squared error `(N, K)` of images `(N, D)`, decoded with each y and their own z."""
    styles = in_chunks(model.encode, images)
    columns = []
    for one_hot in torch.eye(model.classes, device=images.device):
        pairs = zip(images.split(2000), styles.split(2000), strict=True)
        columns.append(
            torch.cat([(x - model.decode(one_hot.expand(len(z), -1), z)).pow(2).sum(1) / 2 for x, z in pairs])
        )
    return torch.stack(columns, 1)


def _losses(errors: Tensor, cluster: Tensor, kept: Tensor) -> Tensor:
    """How much all images lose when a cluster `(K,)` goes; infinite for those that are gone."""
    own = errors.gather(1, cluster[:, None]).squeeze(1)
    others = errors.masked_fill(~kept, torch.inf).scatter(1, cluster[:, None], torch.inf).amin(1)
    losses = torch.zeros(len(kept), device=errors.device).index_add(0, cluster, others - own)
    return losses.masked_fill(~kept, torch.inf)


def narrowed(weights: dict[str, Tensor], kept: Tensor, classes: int) -> dict[str, Tensor]:
    """Weights of a model of `classes` clusters for one that has the `kept` ones `(K,)` alone.

    The rows of the label head and the columns of the decoder's first layer are chosen.
    """
    inputs = torch.arange(weights["decoder.hidden.0.weight"].shape[1])
    chosen = dict(weights)
    for name, value in weights.items():
        if name.startswith("encoder.label.") and value.dim():
            chosen[name] = value[kept]
        elif name == "decoder.hidden.0.weight":
            chosen[name] = value[:, torch.cat((kept, inputs[classes:]))]
    return chosen
