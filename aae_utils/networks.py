"""The networks of the paper: two hidden layers of ReLU units each (appendix A)."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

Posterior = Literal["deterministic", "gaussian", "universal"]
Output = Literal["sigmoid", "linear"]


def dense(inputs: int, outputs: int, init_std: float = 0.01) -> nn.Linear:
    """Linear layer with weights from N(0, init_std^2) and zero biases (appendix A.1)."""
    layer = nn.Linear(inputs, outputs)
    nn.init.normal_(layer.weight, std=init_std)
    nn.init.zeros_(layer.bias)
    return layer


def hidden_layers(
    inputs: int, units: int, *, batch_norm: bool = False, init_std: float = 0.01
) -> nn.Sequential:
    """Two hidden layers of `units` ReLU units, `(N, inputs)` to `(N, units)`."""
    layers: list[nn.Module] = []
    for size in (inputs, units):
        layers.append(dense(size, units, init_std))
        if batch_norm:
            layers.append(nn.BatchNorm1d(units))
        layers.append(nn.ReLU())
    return nn.Sequential(*layers)


class Head(nn.Sequential):
    """Output layers; what leaves a network trained in bfloat16 leaves it as float32, for the losses."""

    def forward(self, hidden: Tensor) -> Tensor:
        """`(N, units)` to `(N, outputs)`, float32 in place of bfloat16."""
        values: Tensor = super().forward(hidden)
        return values.float() if values.dtype == torch.bfloat16 else values


def head(units: int, outputs: int, *, batch_norm: bool = False, init_std: float = 0.01) -> Head:
    """Linear output layer, `(N, units)` to `(N, outputs)`, batch-normalised where asked (A.2.2, A.3)."""
    layers: list[nn.Module] = [dense(units, outputs, init_std)]
    if batch_norm:
        layers.append(nn.BatchNorm1d(outputs))
    return Head(*layers)


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
        self.code = head(units, outputs, init_std=init_std)

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


class TwoHeadEncoder(nn.Module):
    """q(y, z|x) of Figure 8: shared hidden layers, a softmax head for y, a linear head for the style z."""

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
        self.label = head(units, classes, batch_norm=batch_norm, init_std=init_std)
        self.style = head(units, style_dim, batch_norm=batch_norm, init_std=init_std)

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
        self.hidden = hidden_layers(code_dim, units, batch_norm=batch_norm, init_std=init_std)
        self.image = head(units, image_dim, batch_norm=batch_norm, init_std=init_std)

    def logits(self, code: Tensor) -> Tensor:
        """Images before the output unit, `(N, image_dim)`."""
        return self.image(self.hidden(require_width(code, self.code_dim, "code")))

    def forward(self, code: Tensor) -> Tensor:
        """Images `(N, image_dim)` of codes `(N, code_dim)`."""
        logits = self.logits(code)
        return logits.sigmoid() if self.output == "sigmoid" else logits


class Discriminator(nn.Module):
    """Logit of "this code was drawn from the prior", `(N, code_dim)` to `(N,)` (Figure 1)."""

    def __init__(self, code_dim: int, units: int = 1000, *, init_std: float = 0.01) -> None:
        super().__init__()
        self.code_dim = code_dim
        self.hidden = hidden_layers(code_dim, units, init_std=init_std)
        self.logit = head(units, 1, init_std=init_std)

    def forward(self, code: Tensor) -> Tensor:
        """Logits `(N,)`, positive where the code looks like a sample of the prior."""
        return self.logit(self.hidden(require_width(code, self.code_dim, "code"))).squeeze(1)


class ClusterHeads(nn.Module):
    """W_C of Figure 10: one point of the code space for each class or cluster."""

    def __init__(
        self, classes: int, dim: int, *, fixed_scale: float | None = None, init_std: float = 1.0
    ) -> None:
        super().__init__()
        if fixed_scale is None:
            self.weight = nn.Parameter(init_std * torch.randn(classes, dim))
            return
        if classes != dim:
            raise ValueError(
                f"Fixed heads are a multiple of the identity and need as many dimensions as classes,"
                f" not {dim} and {classes}."
            )
        self.weight = nn.Parameter(fixed_scale * torch.eye(dim), requires_grad=False)

    def forward(self, y: Tensor) -> Tensor:
        """Cluster heads `(N, dim)` of label codes y `(N, classes)`: y W_C."""
        return y @ self.weight

    def distance_penalty(self, threshold: float) -> Tensor:
        """Sum over pairs of heads of how far their distance falls short of `threshold` (section 7)."""
        return (threshold - torch.pdist(self.weight)).clamp(min=0).sum()


def reparametrize(mean: Tensor, log_variance: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw z = mean + std * epsilon, epsilon ~ N(0, I), so that gradients reach mean and variance."""
    epsilon = torch.randn(mean.shape, generator=generator, device=mean.device)
    return mean + (0.5 * log_variance).exp() * epsilon


def require_width(values: Tensor, width: int, what: str) -> Tensor:
    """Return `values` if they are `(N, width)`; a ValueError says what came instead."""
    if values.dim() != 2 or values.shape[1] != width:
        raise ValueError(
            f"Expected {what}s of shape (N, {width}), got {tuple(values.shape)}:"
            f" pass one flattened {what} a row."
        )
    return values


def require_known(name: str, value: str, known: tuple[str, ...]) -> None:
    """Do nothing if `value` is one of `known`; a ValueError lists them otherwise."""
    if value not in known:
        raise ValueError(f"Unknown {name} {value!r}: choose one of {', '.join(known)}.")
