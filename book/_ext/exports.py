"""What the pieces of the book show, computed from the runs in `runs/` and written as scripts for the page.

Every record is a function in RECORDS that returns arrays and plain values. `write_record` packs it into
`NAME.js`, which `book/interactive/data.js` reads. Nothing here is typed by hand: codes, weights and films
come from runs, colors from the package's figures. No other file behind the figures calls the package.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rounding import Layer, Rounded, layers_of, rounded_layers, thinned
from torch import Tensor

from aae_utils import data, figures, runs
from aae_utils.metrics.clustering import cluster_labels
from aae_utils.variants.adversarial import codes_of

DOTS = 1000
CHOICE = 20
DENSITY_GRID = 96
# units kept of each hidden layer where a decoder has so many: errors stay below 2 of 255 gray levels
KEPT_UNITS = {500: (280, 400), 1000: (420, 520)}
CALIBRATION_IMAGES = 5000
STYLE_DIRECTIONS = 6
SMALL_DIGITS = 4000
# finer than a screen shows them
PLACES, SHADES = 1023, 64
MEMBERS = 40
CANDIDATES = 12


@dataclass
class Record:
    """Arrays by name, in the type that the page gets, and values that JSON knows."""

    arrays: dict[str, NDArray[Any] | Rounded] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)


# --------------------------------------------------------------------------------------- packing


def script(name: str, record: Record) -> str:
    """The classic script that hands a record to the page."""
    described, packed = {}, b""
    for key, values in record.arrays.items():
        described[key], content = _packed(values)
        packed += content + bytes(-len(content) % 4)
    text = base64.b64encode(_deflated(packed)).decode() if packed else ""
    content = json.dumps({"meta": record.meta, "arrays": described, "bytes": text}, separators=(",", ":"))
    return f"(window.AAE_DATA ??= {{}})[{json.dumps(name)}] = {content};\n"


def _packed(values: NDArray[Any] | Rounded) -> tuple[dict[str, Any], bytes]:
    if isinstance(values, Rounded):
        described = {"type": "rows8", "shape": list(values.whole.shape)}
        return described, values.scale.tobytes() + values.whole.tobytes()
    return {"type": values.dtype.name, "shape": list(values.shape)}, np.ascontiguousarray(values).tobytes()


def _deflated(content: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(content) + packer.flush()


def write_record(name: str, folder: Path, stored: Path) -> None:
    """Write `NAME.js` into `folder`; `stored` keeps it until what it is made of changes."""
    kept = stored / f"{name}-{_digest(name)}.js"
    if not kept.is_file():
        stored.mkdir(parents=True, exist_ok=True)
        for old in stored.glob(f"{name}-{'?' * 16}.js"):
            old.unlink()
        with torch.no_grad():
            kept.write_text(script(name, RECORDS[name]()), "utf-8")
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{name}.js"
    content = kept.read_bytes()
    if not target.is_file() or target.read_bytes() != content:
        target.write_bytes(content)


def _digest(name: str) -> str:
    """Changes with the run that a record shows and with the code that makes it."""
    package = Path(runs.__file__).parent
    files = [*sorted(package.rglob("*.py")), *sorted(Path(__file__).parent.glob("*.py"))]
    folder = run_folder(name)
    if folder:
        files += [folder / runs.DESCRIPTION, *folder.glob(runs.FILM)]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def run_folder(name: str) -> Path | None:
    """The folder of the run that a record shows."""
    if name not in RUN_OF:
        return None
    place = runs.runs_root() / RUN_OF[name]
    return place / f"laptop-seed{runs.shipped_seed(place, 'laptop')}"


def is_there(name: str) -> bool:
    """Whether a record can be made: its run, and its film where it is one, are there."""
    folder = run_folder(name)
    needed = runs.FILM if name.startswith("film-") else runs.DESCRIPTION
    return folder is None or (folder / needed).is_file()


# ---------------------------------------------------------------------- the runs and their images


@cache
def _images(split: str) -> Any:
    return data.load("mnist", split)


@cache
def _model(run: str) -> Any:
    return runs.find_run(run).model()


def _bytes(images: Tensor) -> NDArray[np.uint8]:
    return (255 * images.clamp(0, 1)).round().to(torch.uint8).numpy()


def _stream() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _network(name: str, layers: list[Layer], x: Tensor) -> dict[str, NDArray[Any] | Rounded]:
    arrays: dict[str, NDArray[Any] | Rounded] = {}
    for index, (layer, rounded) in enumerate(zip(layers, rounded_layers(layers, x), strict=True)):
        arrays[f"{name}.{index}.weight"] = rounded
        arrays[f"{name}.{index}.bias"] = layer.bias.numpy()
    return arrays


# -------------------------------------------------------------------------------------- records


def digits() -> Record:
    """The first test images, shown where a code is touched, and the colors of the ten digits."""
    test = _images("test")
    return Record(
        {"images": _bytes(test.images[:DOTS]), "labels": test.labels[:DOTS].to(torch.uint8).numpy()},
        {"colors": list(figures.DIGIT_COLORS)},
    )


def small_digits() -> Record:
    """Training images of 14 x 14 pixels, each the mean of four: what the lab trains on."""
    train = _images("train")
    images = train.images[:SMALL_DIGITS].view(-1, 1, 28, 28)
    small = torch.nn.functional.avg_pool2d(images, 2).flatten(1)
    return Record(
        {"images": _bytes(small), "labels": train.labels[:SMALL_DIGITS].to(torch.uint8).numpy()},
        {"colors": list(figures.DIGIT_COLORS), "parts": dict(figures.PART_COLORS)},
    )


def plane(run: str) -> Record:
    """A decoder over its plane of codes, the codes of test images, and how likely the prior is where."""
    model = _model(run)
    sample = _prior_sample(model, 200_000)
    limit = 1.06 * float(sample.abs().flatten().kthvalue(int(0.997 * sample.numel())).values)
    codes = torch.cat((_grid(limit, 80), sample[:6000]))
    layers = layers_of(model.decoder)
    layers = thinned(layers, codes, KEPT_UNITS[len(layers[0].bias)])
    arrays = _network("decoder", layers, codes)
    arrays["decoder.0.weight"] = layers[0].weight.numpy()  # two numbers a unit: not worth rounding
    arrays["codes"] = _codes(model, _images("test").images[:DOTS]).half().numpy()
    arrays["density"] = _density(model, sample, limit)
    if hasattr(model, "represent"):
        arrays["heads"] = _heads(model).numpy()
        arrays["head_labels"] = _names_of_clusters(model).to(torch.int8).numpy()
    return Record(arrays, {"limit": limit, "color": figures.PART_COLORS["prior"]})


def _codes(model: Any, images: Tensor) -> Tensor:
    if hasattr(model, "represent"):
        return model.represent(images)
    return codes_of(model, images)


def _heads(model: Any) -> Tensor:
    return model.cluster_heads.weight.detach()


def _prior_sample(model: Any, count: int) -> Tensor:
    if not hasattr(model, "represent"):
        return model.prior.sample(count, _stream())
    stream, heads = _stream(), _heads(model)
    return (
        model.style_prior.sample(count, stream) + heads[torch.randint(len(heads), (count,), generator=stream)]
    )


def _grid(limit: float, size: int) -> Tensor:
    steps = torch.linspace(-limit, limit, size)
    second, first = torch.meshgrid(steps, steps, indexing="ij")
    return torch.stack((first.flatten(), second.flatten()), dim=1)


def _density(model: Any, sample: Tensor, limit: float) -> NDArray[np.uint8]:
    """255 times the prior's density over its highest, row 0 the lowest second coordinate."""
    prior = getattr(model, "prior", None)
    if hasattr(prior, "log_prob"):
        density = prior.log_prob(_grid(limit, DENSITY_GRID)).exp().view(DENSITY_GRID, DENSITY_GRID)
    else:
        edges = np.linspace(-limit, limit, DENSITY_GRID + 1)
        counts, _, _ = np.histogram2d(sample[:, 1].numpy(), sample[:, 0].numpy(), bins=(edges, edges))
        density = torch.tensor(counts, dtype=torch.float32)
        density = torch.nn.functional.avg_pool2d(density[None, None], 3, 1, 1)[0, 0]
    return _bytes(density / density.max())


def _names_of_clusters(model: Any) -> Tensor:
    """The label of each head: its digit where labels were seen, else that of its surest validation image."""
    if model.supervised:
        return torch.arange(model.classes)
    validation = _images("validation")
    return cluster_labels(model.log_odds(validation.images), validation.labels)


def film(run: str) -> Record:
    """A run's film: codes in 10 bits and D(z) in 6, as differences from the moment before."""
    tensors, texts = runs.find_run(run).film()
    limit = float(tensors["limit"])
    place = ((tensors["codes"].float() / limit + 1) / 2).clamp(0, 1)
    arrays: dict[str, Any] = {
        "steps": tensors["steps"].float().numpy(),
        "codes": _differences((PLACES * place).round().numpy().astype(np.uint16)),
        "labels": tensors["labels"].numpy(),
        "losses": tensors["losses"].float().numpy(),
        "distance": tensors["distance"].float().numpy(),
    }
    if "discriminator" in tensors:
        arrays["discriminator"] = _differences(tensors["discriminator"].numpy() // (256 // SHADES))
    meta = {
        "limit": limit,
        "places": PLACES,
        "shades": SHADES,
        "losses": texts["losses"].split(","),
        "colors": list(figures.DIGIT_COLORS),
        "parts": figures.PART_COLORS,
    }
    return Record(arrays, meta)


def _differences(frames: NDArray[Any]) -> NDArray[Any]:
    changed = frames.copy()
    changed[1:] -= frames[:-1]  # whole numbers without a sign wrap around, and back again in the page
    return changed


def style(run: str) -> Record:
    """Encoder and decoder of section 4, and the directions in which the styles of test images differ most."""
    model, train, test = _model(run), _images("train"), _images("test")
    images, labels = train.images[:CALIBRATION_IMAGES], train.labels[:CALIBRATION_IMAGES]
    styles = model.encode(images)
    asked = torch.randint(10, labels.shape, generator=_stream())
    seen = torch.cat((model.with_label(styles, labels), model.with_label(styles, asked)))
    arrays = _network("encoder", layers_of(model.encoder), images)
    layers = layers_of(model.decoder)
    arrays |= _network("decoder", layers, seen)
    arrays["decoder.0.weight"] = layers[0].weight.numpy()  # few numbers a unit: not worth rounding
    center, directions, widths = _strongest_directions(model.encode(test.images))
    arrays |= {"center": center.numpy(), "directions": directions.numpy(), "widths": widths.numpy()}
    return Record(arrays | _choice(), {"label_scale": model.label_scale, "classes": model.classes})


def _strongest_directions(codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    center = codes.mean(0)
    variances, directions = torch.linalg.eigh((codes - center).T.cov())
    strongest = variances.argsort(descending=True)[:STYLE_DIRECTIONS]
    return center, directions.T[strongest].contiguous(), variances[strongest].sqrt()


def answer(run: str) -> Record:
    """The encoder of section 5 up to its softmax layer for the label."""
    model, train = _model(run), _images("train")
    layers = layers_of(model.encoder.hidden, model.encoder.label)
    meta = {"images": len(train), "labels": runs.find_run(run).recipe.data.labels}
    return Record(_network("encoder", layers, train.images[:CALIBRATION_IMAGES]) | _choice(), meta)


def _choice() -> dict[str, NDArray[Any]]:
    """Two test images of each digit, for readers who do not draw."""
    test = _images("test")
    chosen = torch.cat([(test.labels == digit).nonzero()[: CHOICE // 10, 0] for digit in range(10)])
    return {"images": _bytes(test.images[chosen]), "labels": test.labels[chosen].to(torch.uint8).numpy()}


def clusters(run: str) -> Record:
    """Clusters of the test images: how many of each digit, some members, and what could name each of them."""
    model, test, validation = _model(run), _images("test"), _images("validation")
    cluster = model.log_odds(test.images).argmax(1)
    counts = torch.zeros(model.classes, 10, dtype=torch.int64)
    counts.index_put_((cluster, test.labels), torch.ones(()).long(), accumulate=True)
    members = [(cluster == k).nonzero()[:MEMBERS, 0] for k in range(model.classes)]
    chosen = torch.cat(members)
    surest = model.log_odds(validation.images).topk(CANDIDATES, dim=0).indices.T
    heads = model.decode(torch.eye(model.classes), torch.zeros(model.classes, model.style_prior.dim))
    return Record(
        {
            "counts": counts.numpy().astype(np.uint16),
            "members": _bytes(test.images[chosen]),
            "member_labels": test.labels[chosen].to(torch.uint8).numpy(),
            "member_counts": np.array([len(some) for some in members], np.uint8),
            "candidates": _bytes(validation.images[surest.flatten()]).reshape(*surest.shape, -1),
            "candidate_labels": validation.labels[surest].to(torch.uint8).numpy(),
            "heads": _bytes(heads),
        },
        {"colors": list(figures.DIGIT_COLORS)},
    )


PLANES = (
    "aae-gaussian",
    "aae-mixture",
    "vae-gaussian",
    "vae-mixture",
    "labeled-mixture",
    "labeled-swiss-roll",
    "reduction-1000",
    "reduction-100",
    "reduction-unsupervised",
)
FILMS = ("aae-gaussian", "aae-mixture", "vae-gaussian", "labeled-mixture", "labeled-swiss-roll")

RECORDS: dict[str, Callable[[], Record]] = {
    "digits": digits,
    "small-digits": small_digits,
    **{f"plane-{run}": partial(plane, run) for run in PLANES},
    **{f"film-{run}": partial(film, run) for run in FILMS},
    "draw-supervised-mnist": partial(style, "supervised-mnist"),
    "draw-semi-supervised-100": partial(answer, "semi-supervised-100"),
    "clusters-clustering-16": partial(clusters, "clustering-16"),
    "clusters-clustering-30": partial(clusters, "clustering-30"),
}
# the run of each record that shows one: what stands behind the first hyphen of its name
RUN_OF = {name: name.split("-", 1)[1] for name in RECORDS if name not in ("digits", "small-digits")}
