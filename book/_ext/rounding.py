"""Small copies of trained decoders and encoders for the page: fewer units, weights of 8 bits, same pictures.

Two steps, both of which look at the activations that the network really has:

* Thinning. On a plane of codes most hidden units repeat what others say. The most independent ones are kept,
  and the next layer's weights are fitted by least squares, so that its sums stay the same.
* Rounding. The weights of a row become whole numbers from -127 to 127 times one scale. One input after the
  other is rounded, and the weights still to come make up for the error (as GPTQ does for language models):
  far closer to the original than to round each weight alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

LARGEST = 127
BLOCK = 64


@dataclass(frozen=True)
class Layer:
    """weight `(outputs, inputs)` and bias `(outputs,)`, float32."""

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Sums `(N, outputs)` of inputs `(N, inputs)`."""
        return x @ self.weight.T + self.bias


@dataclass(frozen=True)
class Rounded:
    """Whole numbers `(outputs, inputs)` int8 and one scale a row, `(outputs, 1)` float32."""

    whole: NDArray[np.int8]
    scale: NDArray[np.float32]

    def weight(self) -> Tensor:
        """The matrix that they stand for."""
        return torch.from_numpy(self.whole * self.scale)


def layers_of(*networks: nn.Module) -> list[Layer]:
    """The linear layers of networks without batch normalization, in the order in which they are applied."""
    modules = [module for network in networks for module in network.modules()]
    if any(isinstance(module, nn.BatchNorm1d) for module in modules):
        raise ValueError("A network with batch normalization cannot be written for the page.")
    linear = [module for module in modules if isinstance(module, nn.Linear)]
    return [Layer(m.weight.detach().float(), m.bias.detach().float()) for m in linear]


def activations(layers: list[Layer], x: Tensor) -> list[Tensor]:
    """What each layer reads: `x`, then the rectified sums of all layers but the last."""
    reads = [x]
    for layer in layers[:-1]:
        reads.append(layer(reads[-1]).relu())
    return reads


def thinned(layers: list[Layer], x: Tensor, units: tuple[int, ...]) -> list[Layer]:
    """A network with fewer hidden units, `units` in its hidden layers, that answers inputs `x` as before."""
    thin = list(layers)
    for index, (read, count) in enumerate(zip(activations(layers, x)[1:], units, strict=True)):
        after = layers[index + 1]
        # a unit that the next layer hardly reads need not be explained well
        kept = independent_units(read * after.weight.norm(dim=0), count)
        thin[index + 1] = Layer(fitted(read[:, kept], after(read) - after.bias), after.bias)
        before = thin[index]
        thin[index] = Layer(before.weight[kept], before.bias[kept])
    return thin


def independent_units(read: Tensor, count: int) -> Tensor:
    """Indices `(count,)` of the columns of `read` that explain the others best (pivoted Cholesky)."""
    rest = read.double().T @ read.double()
    kept = []
    for _ in range(min(count, len(rest))):
        unit = int(rest.diagonal().argmax())
        kept.append(unit)
        column = rest[:, unit] / rest[unit, unit].clamp_min(1e-12).sqrt()
        rest.addr_(column, column, alpha=-1)
    return torch.tensor(kept)


def fitted(inputs: Tensor, outputs: Tensor) -> Tensor:
    """Matrix `(M, K)` that maps inputs `(N, K)` to outputs `(N, M)` with the least squared error."""
    gram = _damped(inputs, 1e-6)
    return torch.linalg.solve(gram, inputs.double().T @ outputs.double()).T.float()


def rounded_layers(layers: list[Layer], x: Tensor) -> list[Rounded]:
    """Every layer rounded for inputs `x`, each for what the rounded layers before it hand on."""
    rounded = []
    for layer in layers:
        rounded.append(rounded_for(layer.weight, x))
        x = Layer(rounded[-1].weight(), layer.bias)(x).relu()
    return rounded


def rounded_for(weight: Tensor, x: Tensor) -> Rounded:
    """Round `weight` so that its sums over inputs `x` `(N, inputs)` stay as near as can be."""
    gram = _damped(x, 1e-4)
    order = gram.diagonal().argsort(descending=True)
    left = weight.double()[:, order]
    scale = left.abs().amax(1, keepdim=True).clamp_min(1e-12) / LARGEST
    # row j says how the error of input j is shared among the inputs after it
    share = torch.linalg.cholesky(torch.linalg.inv(gram[order][:, order]), upper=True)
    whole = torch.empty_like(left)
    for start in range(0, len(share), BLOCK):
        block = slice(start, min(start + BLOCK, len(share)))
        errors = torch.empty_like(left[:, block])
        for j in range(block.start, block.stop):
            whole[:, j] = (left[:, j] / scale[:, 0]).round().clamp(-LARGEST, LARGEST)
            error = (left[:, j] - whole[:, j] * scale[:, 0]) / share[j, j]
            left[:, j : block.stop] -= torch.outer(error, share[j, j : block.stop])
            errors[:, j - start] = error
        left[:, block.stop :] -= errors @ share[block, block.stop :]
    whole = whole[:, order.argsort()]
    return Rounded(whole.to(torch.int8).numpy(), scale.float().numpy())


def _damped(x: Tensor, share: float) -> Tensor:
    gram = x.double().T @ x.double()
    return gram + share * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.float64)
