"""Draw readme.png from the shipped run `aae-gaussian`: its codes and its manifold (Figures 2A and 2E).

Run `python book/_static/figures/draw_readme.py` after that run has changed.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import torch

from aae_utils import data, figures, runs
from aae_utils.variants.adversarial import codes_of


def main() -> None:
    """Write readme.png beside this file."""
    figures.use_style()
    run = runs.find_run("aae-gaussian")
    model, test = run.model(), data.load_mnist("test")
    codes = codes_of(model, test.images)
    with torch.no_grad():
        images = model.decode(figures.percentile_grid(17, model.prior.std))
    picture, (left, right) = plt.subplots(1, 2, figsize=(9, 4.6), layout="constrained")
    figures.codes(codes, test.labels, ax=left, title="codes of the test images, by digit")
    figures.manifold(images, 17, ax=right, title="what the decoder draws across the plane")
    picture.savefig(Path(__file__).with_name("readme.png"), dpi=110)


if __name__ == "__main__":
    main()
