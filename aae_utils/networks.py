"""The networks of the paper: two hidden layers of ReLU units each (appendix A)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from aae_utils.checks import require_known, require_number

Posterior = Literal["deterministic", "gaussian", "universal"]
Output = Literal["sigmoid", "linear"]


@dataclass(frozen=True)
class Corruption:
    """Noise on the encoder's input during training only (appendix A.2 and A.3)."""

    noise_std: float = 0.0
    """Standard deviation of Gaussian noise on each pixel."""
    dropout: float = 0.0
    """Share of pixels that are set to zero; the others grow so that the mean stays."""

    def __post_init__(self) -> None:
        require_number("noise_std", self.noise_std, least=0)
        require_number("dropout", self.dropout, least=0, below=1)

    def __call__(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """Corrupt images `(N, D)`: Gaussian noise, then dropout that keeps the mean."""
        if self.noise_std:
            x = with_noise(x, self.noise_std, generator)
        if self.dropout:
            kept = torch.rand(x.shape, generator=generator, device=x.device) >= self.dropout
            x = x * kept / (1 - self.dropout)
        return x


class CodeLayer(nn.Linear):
    """A linear layer that reads or writes a code, in float32 also where the others multiply in bfloat16.

    There a code of 10 moves in steps of 0.06, and a probability of 0.999 is 1.
    """

    def forward(self, values: Tensor) -> Tensor:
        """`(N, inputs)` to `(N, outputs)`, float32."""
        with torch.autocast(values.device.type, enabled=False):
            return super().forward(values.float())


def dense(inputs: int, outputs: int, init_std: float = 0.01, layer: type[nn.Linear] = nn.Linear) -> nn.Linear:
    """Linear layer with weights from N(0, init_std^2) and zero biases (appendix A.1)."""
    made = layer(inputs, outputs)
    nn.init.normal_(made.weight, std=init_std)
    nn.init.zeros_(made.bias)
    return made


def hidden_layers(
    inputs: int,
    units: int,
    *,
    reads: type[nn.Linear] = nn.Linear,
    batch_norm: bool = False,
    init_std: float = 0.01,
) -> nn.Sequential:
    """Two hidden layers of `units` ReLU units, `(N, inputs)` to `(N, units)`; the first one is a `reads`."""
    layers: list[nn.Module] = []
    for size, kind in ((inputs, reads), (units, nn.Linear)):
        layers.append(dense(size, units, init_std, kind))
        if batch_norm:
            layers.append(nn.BatchNorm1d(units))
        layers.append(nn.ReLU())
    return nn.Sequential(*layers)


def output_layer(
    units: int,
    outputs: int,
    *,
    layer: type[nn.Linear] = CodeLayer,
    batch_norm: bool = False,
    init_std: float = 0.01,
) -> nn.Sequential:
    """Linear output layer, `(N, units)` to `(N, outputs)`, batch-normalized where asked (A.2.2, A.3)."""
    layers: list[nn.Module] = [dense(units, outputs, init_std, layer)]
    if batch_norm:
        layers.append(nn.BatchNorm1d(outputs))
    return nn.Sequential(*layers)


class Encoder(nn.Module):
    """q(z|x), with the three posteriors of section 2: deterministic, Gaussian, universal approximator."""

    def __init__(
        self,
        image_dim: int,
        code_dim: int,
        units: int = 1000,
        *,
        posterior: Posterior = "deterministic",
        noise_dim: int = 10,
        init_std: float = 0.01,
    ) -> None:
        super().__init__()
        require_known("posterior", posterior, get_args(Posterior))
        self.posterior = posterior
        self.image_dim = image_dim
        self.noise_dim = noise_dim if posterior == "universal" else 0
        self.hidden = hidden_layers(image_dim + self.noise_dim, units, init_std=init_std)
        outputs = 2 * code_dim if posterior == "gaussian" else code_dim
        self.code = output_layer(units, outputs, init_std=init_std)

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw one code z ~ q(z|x) for each image: `(N, image_dim)` to `(N, code_dim)`."""
        if self.posterior == "gaussian":
            mean, log_variance = self.moments(x)
            return reparametrize(mean, log_variance, generator)
        if self.posterior == "universal":
            # z = f(x, eta): the noise eta lets q(z|x) take any shape (section 2)
            eta = torch.randn(len(x), self.noise_dim, generator=generator, device=x.device)
            x = torch.cat((require_width(x, self.image_dim, "image"), eta), dim=1)
        else:
            require_width(x, self.image_dim, "image")
        return self.code(self.hidden(x))

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of a Gaussian q(z|x), each `(N, code_dim)`."""
        if self.posterior != "gaussian":
            raise ValueError(f"A {self.posterior} posterior has no moments; use posterior='gaussian'.")
        mean, log_variance = self.code(self.hidden(require_width(x, self.image_dim, "image"))).chunk(2, dim=1)
        return mean, log_variance


class LabelAndStyleEncoder(nn.Module):
    """q(y, z|x) of Figure 8: shared hidden layers, a softmax layer for y, a linear layer for the style z."""

    def __init__(
        self,
        image_dim: int,
        classes: int,
        style_dim: int,
        units: int = 1000,
        *,
        batch_norm: bool = False,
        init_std: float = 0.01,
    ) -> None:
        super().__init__()
        self.image_dim = image_dim
        self.hidden = hidden_layers(image_dim, units, batch_norm=batch_norm, init_std=init_std)
        self.label = output_layer(units, classes, batch_norm=batch_norm, init_std=init_std)
        self.style = output_layer(units, style_dim, batch_norm=batch_norm, init_std=init_std)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of y `(N, classes)` and style z `(N, style_dim)` of images `(N, image_dim)`."""
        shared = self.hidden(require_width(x, self.image_dim, "image"))
        return self.label(shared), self.style(shared)


class Decoder(nn.Module):
    """p(x|z): codes (or codes and labels side by side) to images."""

    def __init__(
        self,
        code_dim: int,
        image_dim: int,
        units: int = 1000,
        *,
        output: Output = "sigmoid",
        batch_norm: bool = False,
        init_std: float = 0.01,
    ) -> None:
        super().__init__()
        require_known("output", output, get_args(Output))
        self.code_dim = code_dim
        self.output = output
        self.hidden = hidden_layers(
            code_dim, units, reads=CodeLayer, batch_norm=batch_norm, init_std=init_std
        )
        self.image = output_layer(units, image_dim, layer=nn.Linear, batch_norm=batch_norm, init_std=init_std)

    def logits(self, code: Tensor) -> Tensor:
        """Images before the output unit, `(N, image_dim)`."""
        return self.image(self.hidden(require_width(code, self.code_dim, "code"))).float()

    def forward(self, code: Tensor) -> Tensor:
        """Images `(N, image_dim)` of codes `(N, code_dim)`."""
        logits = self.logits(code)
        return logits.sigmoid() if self.output == "sigmoid" else logits


class Discriminator(nn.Module):
    """Logit of "this code was drawn from the prior", `(N, code_dim)` to `(N,)` (Figure 1)."""

    def __init__(self, code_dim: int, units: int = 1000, *, init_std: float = 0.01) -> None:
        super().__init__()
        self.code_dim = code_dim
        self.hidden = hidden_layers(code_dim, units, reads=CodeLayer, init_std=init_std)
        self.logit = output_layer(units, 1, init_std=init_std)

    def forward(self, code: Tensor) -> Tensor:
        """Logits `(N,)`, positive where the code looks like a sample of the prior."""
        return self.logit(self.hidden(require_width(code, self.code_dim, "code"))).squeeze(1)


class MissingNetwork(nn.Module):
    """Stands where a run kept no weights; whatever is asked of it is one sentence."""

    def __init__(self, run: str, network: str) -> None:
        super().__init__()
        self.sentence = (
            f"The run {run} did not keep the weights of its {network}: train it again, with {network}"
            " among the parts that `--keep` names."
        )

    def __getattr__(self, name: str) -> Any:
        """Weights and settings of the network are not there."""
        if name.startswith("_") or name in self.__dict__:
            return super().__getattr__(name)
        raise ValueError(self.sentence)

    def forward(self, *_: Any) -> Tensor:
        """Refuse."""
        raise ValueError(self.sentence)


def reparametrize(mean: Tensor, log_variance: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw z = mean + std * epsilon, epsilon ~ N(0, I), so that gradients reach mean and variance."""
    return with_noise(mean, (0.5 * log_variance).exp(), generator)


def with_noise(values: Tensor, std: float | Tensor, generator: torch.Generator | None) -> Tensor:
    """Values of any shape plus standard-normal noise times `std`."""
    return values + std * torch.randn(values.shape, generator=generator, device=values.device)


def require_width(values: Tensor, width: int, what: str) -> Tensor:
    """Return `values` if they are `(N, width)`; a ValueError says what came instead."""
    if values.dim() != 2 or values.shape[1] != width:
        raise ValueError(
            f"Expected {what}s of shape (N, {width}), got {tuple(values.shape)}:"
            f" pass one flattened {what} a row."
        )
    return values
