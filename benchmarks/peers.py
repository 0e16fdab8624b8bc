"""Time our training step beside two common ways to write one, in turns, with the same networks and images.

python benchmarks/peers.py --threads 1 2
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import tyro
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adam
from torch.utils.data import DataLoader, TensorDataset
from training_step import IMAGE_DIM, endless, make_trainer, take_turns

from aae_utils.priors import Gaussian
from aae_utils.recipes import ModelSettings
from aae_utils.training import Precision
from aae_utils.variants.adversarial import AdversarialSettings
from aae_utils.variants.semi_supervised import SemiSupervisedSettings

RATE = 2e-4
IMAGES = 6000


def loader(images: Tensor, labels: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Minibatches collected one image at a time, epoch after epoch."""
    dataset = TensorDataset(images, labels)
    while True:
        yield from DataLoader(dataset, batch_size, shuffle=True, drop_last=True)


def right(logits: Tensor) -> Tensor:
    """Cross-entropy of logits `(N,)` where "from the prior" is the answer that is wanted."""
    return functional.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))


def wrong(logits: Tensor) -> Tensor:
    """Cross-entropy of logits `(N,)` where "from the encoder" is the answer that is wanted."""
    return functional.binary_cross_entropy_with_logits(logits, torch.zeros_like(logits))


def update(optimizer: Adam, loss: Tensor) -> float:
    """Descend, and bring the loss to the host for a line of the log."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def adam(*networks: nn.Module) -> Adam:
    """An optimizer for all parameters of some networks."""
    return Adam([parameter for network in networks for parameter in network.parameters()], RATE)


def joint_steps(model: nn.Module, batch_size: int) -> Iterator[list[float]]:
    """Two updates a minibatch: reconstruction and generator in one loss, then the discriminator."""
    autoencoder, discriminator = adam(model.encoder, model.decoder), adam(model.discriminator)
    batches = loader(torch.rand(IMAGES, IMAGE_DIM), torch.zeros(IMAGES), batch_size)
    for x, _ in batches:
        z = model.encoder(x)
        reconstruction = functional.mse_loss(model.decoder(z), x)
        first = update(autoencoder, 0.999 * reconstruction + 0.001 * right(model.discriminator(z)))
        samples = torch.randn_like(z)
        loss = right(model.discriminator(samples)) + wrong(model.discriminator(z.detach()))
        yield [first, update(discriminator, 0.5 * loss)]


def phase_steps(model: nn.Module, batch_size: int) -> Iterator[list[float]]:
    """Four updates a minibatch, each with a pass through the encoder of its own."""
    labels = torch.randint(10, (IMAGES,))
    images = torch.rand(IMAGES, IMAGE_DIM)
    batches = loader(images, labels, batch_size)
    labeled = loader(images[:1000], labels[:1000], batch_size)
    autoencoder = adam(model.encoder, model.decoder)
    discriminators = adam(model.label_discriminator, model.style_discriminator)
    generator, classifier = adam(model.encoder), adam(model.encoder)
    for x, _ in batches:
        y, z = model.encoder(x)
        reconstruction = model.decoder(torch.cat((y.softmax(1), z), 1))
        losses = [update(autoencoder, functional.mse_loss(reconstruction, x))]

        y, z = (code.detach() for code in model.encoder(x))
        one_hot, samples = torch.eye(10)[torch.randint(10, (len(x),))], torch.randn_like(z)
        real = right(model.label_discriminator(one_hot)) + right(model.style_discriminator(samples))
        fake = wrong(model.label_discriminator(y.softmax(1))) + wrong(model.style_discriminator(z))
        losses.append(update(discriminators, real + fake))

        y, z = model.encoder(x)
        fooled = right(model.label_discriminator(y.softmax(1))) + right(model.style_discriminator(z))
        losses.append(update(generator, fooled))

        x, digits = next(labeled)
        losses.append(update(classifier, functional.cross_entropy(model.encoder(x)[0], digits)))
        yield losses


@dataclass(frozen=True)
class Peer:
    """A common way to write the step, and the networks and the minibatch that go with it."""

    name: str
    steps: Callable[[nn.Module, int], Iterator[list[float]]]
    settings: ModelSettings
    batch_size: int


PEERS = (
    Peer(
        "joint loss, two updates",
        joint_steps,
        AdversarialSettings(Gaussian(10), units=512, discriminator_units=512),
        64,
    ),
    Peer("semi-supervised, four updates", phase_steps, SemiSupervisedSettings(), 100),
)


def compare(peer: Peer, precisions: tuple[Precision, ...], seconds: float) -> list[float]:
    """Images per second of the peer, in float32, and of ours in each precision."""
    torch.manual_seed(0)
    steps = peer.steps(peer.settings.build(IMAGE_DIM), peer.batch_size)
    works = [lambda: next(steps)]
    for precision in precisions:
        trainer = make_trainer(peer.settings, peer.batch_size, precision, IMAGES)
        batches = endless(trainer)
        works.append(lambda trainer=trainer, batches=batches: trainer.step(next(batches)))
    times = take_turns(works, seconds, repeats=5)
    return [peer.batch_size / statistics.median(spent) for spent in times]


def main(
    threads: tuple[int, ...] = (1,),
    precisions: tuple[Precision, ...] = ("auto", "float32"),
    seconds: float = 5.0,
) -> None:
    """Print images per second of two common training loops and of ours, on the same networks.

    Args:
        threads: threads for torch; runs use one for each process.
        precisions: of our step; auto is what runs use. The other loops are in float32.
        seconds: time for each comparison.
    """
    for count in threads:
        torch.set_num_threads(count)
        print(f"threads: {count}, torch {torch.__version__}")
        print(f"{'loop':<32}{'images/s':>10}" + "".join(f"{f'ours, {name}':>24}" for name in precisions))
        for peer in PEERS:
            theirs, *ours = compare(peer, precisions, seconds)
            cells = "".join(f"{f'{value:.0f} ({value / theirs:.1f}x)':>24}" for value in ours)
            print(f"{peer.name:<32}{theirs:>10.0f}{cells}", flush=True)


if __name__ == "__main__":
    tyro.cli(main)
