"""The `aae` command: list, train, evaluate, reproduce, study, report."""

from __future__ import annotations

# PyTorch takes seconds to import: each command imports what it needs, so that `aae --help` answers at once.
import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import tyro

from aae_utils import Setting

if TYPE_CHECKING:
    import pandas as pd

    from aae_utils.recipes import Recipe
    from aae_utils.runs import Run
    from aae_utils.scheduling import Job, Outcome

DESCRIPTION = "Adversarial autoencoders: train, evaluate and compare the runs of every figure and table row."
OPTIONS = (tyro.conf.FlagCreatePairsOff, tyro.conf.AvoidSubcommands)
DEVICES = ("cpu", "cuda", "mps")
MISTAKE, FAILED, INTERRUPTED = 2, 1, 130


def _default(words: str, metavar: str | None = None) -> object:
    """What the help names as the default of an argument, in place of a bare None."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint=f"(default: {words})")


@dataclass(frozen=True)
class List:
    """List every recipe: figure or table row, setting, time and result of its runs."""

    setting: Setting | None = None
    """Only this setting."""
    root: Annotated[Path | None, _default("runs")] = None
    """Folder of the runs."""

    def run(self, rest: list[str]) -> int:
        """Print one line for each recipe and setting, and name the folders that do not count."""
        from aae_utils import report
        from aae_utils.recipes import SETTINGS
        from aae_utils.variants import get_recipe, recipe_names

        settings = [self.setting] if self.setting else SETTINGS
        recipes = [get_recipe(name, setting) for name in recipe_names() for setting in settings]
        runs, problems = report.counted_runs(self.root)
        _print_table(report.recipes_table(recipes, runs))
        _name_problems(problems)
        return 0


@dataclass(frozen=True)
class Train:
    """Train one recipe, or continue where its training was interrupted.

    Every field of the recipe can be given after its name, as in `aae train clustering-30 --training.epochs 3
    --model.units 100`; `aae train RECIPE --help` lists the fields. A recipe with changed fields is kept under
    its name with "-custom" added, or under a --name of its own.
    """

    recipe: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RECIPE")]
    """Name of the recipe, see `aae list`."""
    setting: Setting = "laptop"
    """Ours for two processor cores, or the paper's own."""
    seed: int = 0
    """Fixes initial weights, order of the images, noise and choice of labels."""
    root: Annotated[Path | None, _default("runs; with --shrink runs-rehearsal")] = None
    """Folder for the run."""
    device: Annotated[str | None, _default("the fastest there is")] = None
    """cpu, cuda or mps."""
    shrink: bool = False
    """A rehearsal in seconds: the same recipe with few images, few units and one epoch."""

    def run(self, rest: list[str]) -> int:
        """Train and print what came out."""
        from aae_utils import report, reproduction
        from aae_utils.runs import run_folder

        recipe = _changed(_recipe(self.recipe, self.setting, self.shrink), rest)
        _require_device(self.device)
        root = _root(self.root, self.shrink)
        there = run_folder(recipe, self.seed, root).exists()
        run = reproduction.train_recipe(recipe, self.seed, root, self.device)
        verb = "was there already" if there else f"trained in {report.time_in_words(run.seconds)}"
        print(f"{run.name} {verb}: {report.results_in_words(run.results)}\nIt lies in {run.folder}")
        return 0


@dataclass(frozen=True)
class Evaluate:
    """Compute the numbers of a finished run again from its weights, beside those that it stored."""

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
    """A run's folder, its name as in `clustering-16/laptop-seed0`, or the name of a recipe."""
    setting: Setting = "laptop"
    """Which setting, where RUN is the name of a recipe."""
    seed: Annotated[int | None, _default("the one whose weights are shipped")] = None
    """Which seed, where RUN is the name of a recipe."""
    root: Annotated[Path | None, _default("runs")] = None
    """Folder of the runs."""
    device: Annotated[str | None, _default("the fastest there is")] = None
    """cpu, cuda or mps."""
    samples: int | None = None
    """For Table 1: compute the log-likelihood with so many samples instead. What 10000000 samples give is
    stored in the run; on two cores it takes less than half an hour."""

    def run(self, rest: list[str]) -> int:
        """Print a table: stored, computed again."""
        from aae_utils import report, reproduction, runs

        _require_device(self.device)
        run = _find_run(self.name, self.setting, self.seed, self.root)
        print(f"{run.name} in {run.folder}")
        if reason := runs.deviation(run):
            print(f"{reason}: it is not counted.")
        if self.samples is not None:
            print(reproduction.add_likelihood(run, self.samples, self.device))
            return 0
        _print_table(report.evaluation_table(run, reproduction.evaluate_run(run, self.device)))
        return 0


@dataclass(frozen=True)
class Reproduce:
    """Make the runs of many recipes, several at once, each in a process with one thread.

    On a GPU of CUDA the seeds of a recipe are trained as one stack, and several recipes side by side.

    Finished runs are skipped and interrupted ones continued, so the command can be given again at any time.
    A recipe that starts from the weights of another brings the runs of that one with it.
    A run that fails is reported at the end and does not stop the others.
    """

    recipes: Annotated[
        tyro.conf.Positional[tuple[str, ...]], _default("every recipe on MNIST", "RECIPE")
    ] = ()
    """Their names; those on SVHN and TFD are trained when they are named."""
    setting: Setting = "laptop"
    """Ours for two processor cores, or the paper's own."""
    seeds: int = 5
    """How many seeds: 0, 1, 2, ..."""
    jobs: int = 2
    """How many runs at once on this machine."""
    scheduler: str | None = None
    """Address of a Dask scheduler, such as tcp://10.0.0.1:8786, whose workers make the runs instead."""
    root: Annotated[Path | None, _default("runs; with --shrink runs-rehearsal")] = None
    """Folder for the runs."""
    device: Annotated[str | None, _default("the fastest that a process finds")] = None
    """cpu, cuda or mps."""
    shrink: bool = False
    """A rehearsal in seconds: the same recipes with few images, few units and one epoch."""

    def run(self, rest: list[str]) -> int:
        """Print one line for each run as it ends, and the failed ones again at the end."""
        from aae_utils import scheduling
        from aae_utils.checks import require_whole

        require_whole("--seeds", self.seeds)
        require_whole("--jobs", self.jobs)
        jobs = self._jobs()
        waiting = [job for job in jobs if not job.place.exists()]
        progress = _Progress(len(jobs))
        for job in jobs:
            if job.place.exists():
                progress.add(scheduling.run_job(job))
        stacked = _stacked(waiting, self.scheduler)  # these wait for each other
        for stage in [waiting] if stacked else scheduling.stages(waiting):
            _make_all(stage, self.jobs, self.scheduler, progress)
        return progress.end()

    def _jobs(self) -> list[Job]:
        """Every recipe with the first seed, then with the second, and so on."""
        from aae_utils import scheduling
        from aae_utils.scheduling import Job

        names = dict.fromkeys(self.recipes or _names_on("mnist"))
        recipes = [_recipe(name, self.setting, self.shrink) for name in names]
        if self.scheduler is None:
            _require_device(self.device)
        root = _root(self.root, self.shrink).absolute()
        asked = [(recipe, seed) for seed in range(self.seeds) for recipe in recipes]
        first = [pair for one in asked for pair in scheduling.first_stages(*one)]
        return [Job(recipe, seed, root, self.device) for recipe, seed in dict.fromkeys([*first, *asked])]


@dataclass(frozen=True)
class Study:
    """Make what is missing of a study, several trainings at once; without a name, list the studies.

    A study is a file `studies/NAME.toml`: a question, the variations that are compared, and their seeds. Each
    training leaves a record in `studies/NAME/`, measured on validation images. Records are kept, interrupted
    trainings continued, so the command can be given again at any time.
    """

    name: Annotated[tyro.conf.Positional[str | None], _default("list all of them", "NAME")] = None
    """Which study."""
    jobs: int = 2
    """How many trainings at once on this machine."""
    scheduler: str | None = None
    """Address of a Dask scheduler, such as tcp://10.0.0.1:8786, whose workers train instead."""
    root: Annotated[Path | None, _default("studies")] = None
    """Folder of the studies."""
    device: Annotated[str | None, _default("the fastest that a process finds")] = None
    """cpu, cuda or mps."""
    shrink: bool = False
    """A rehearsal in seconds, with few images, few units and one epoch; its records lie apart, in a folder
    whose name ends with `-rehearsal`."""

    def run(self, rest: list[str]) -> int:
        """Print a line for each training as it ends, then what the study found so far."""
        from aae_utils import studies
        from aae_utils.checks import require_whole

        root = studies.studies_root(self.root).absolute()
        if self.name is None:
            _print_table(studies.studies_table(root))
            return 0
        require_whole("--jobs", self.jobs)
        study = studies.load_study(self.name, root)
        studies.require_measure(study)
        if self.scheduler is None:
            _require_device(self.device)
        records = root.with_name(f"{root.name}-rehearsal") if self.shrink else root
        trials = study.trials(records, self.shrink, self.device)
        waiting = [trial for trial in trials if not trial.place.exists()]
        if waiting:
            progress = _Progress(len(waiting))
            _make_all(waiting, self.jobs, self.scheduler, progress)
            progress.end()
        state = studies.state_of(study, records, self.shrink)
        print(f"{study.question}\n")
        _print_table(studies.findings_table(state))
        _name_problems(state.problems)
        return FAILED if state.missing or state.problems else 0


@dataclass(frozen=True)
class Report:
    """Write the tables and loss curves that the book includes, from the runs."""

    root: Annotated[Path | None, _default("runs")] = None
    """Folder of the runs."""
    folder: Annotated[Path | None, _default("book/_tables")] = None
    """Where to write."""

    def run(self, rest: list[str]) -> int:
        """Write, and name the folders that are not finished runs."""
        from aae_utils import report

        folder = (self.folder or report.tables_folder()).expanduser()
        files, problems = report.write_report(self.root, folder)
        _name_problems(problems)
        print(f"{len(files)} files in {folder}")
        return 0


Command = (
    Annotated[List, tyro.conf.subcommand("list")]
    | Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Reproduce, tyro.conf.subcommand("reproduce")]
    | Annotated[Study, tyro.conf.subcommand("study")]
    | Annotated[Report, tyro.conf.subcommand("report")]
)


class _Progress:
    """One line for each run as it ends, above a bar on terminals."""

    def __init__(self, total: int) -> None:
        from tqdm import tqdm

        self.bar = tqdm(total=total, unit="run", disable=None)
        self.outcomes: list[Outcome] = []
        self.total = total

    def add(self, outcome: Outcome) -> None:
        """Print what became of a run."""
        self.outcomes.append(outcome)
        count = f"[{len(self.outcomes):{len(str(self.total))}}/{self.total}]"
        self.bar.write(f"{count} {outcome.job.name} {_in_words(outcome)}")
        sys.stdout.flush()
        self.bar.update()

    def end(self) -> int:
        """Repeat the failed runs; the exit status says whether there are any."""
        self.bar.close()
        failed = [outcome for outcome in self.outcomes if outcome.status == "failed"]
        if failed:
            print(f"{len(failed)} of {self.total} runs failed:", file=sys.stderr)
        for outcome in failed:
            print(f"  {outcome.job.name}: {outcome.message}", file=sys.stderr)
        return FAILED if failed else 0


def _stacked(jobs: Sequence[Job], scheduler: str | None) -> bool:
    """Whether the jobs are trained as stacks: on this machine's GPU."""
    import torch

    from aae_utils.reproduction import best_device

    return bool(jobs) and not scheduler and torch.device(jobs[0].device or best_device()).type == "cuda"


def _make_all(jobs: Sequence[Job], processes: int, scheduler: str | None, progress: _Progress) -> None:
    """Run jobs on this machine or on a cluster, and print each as it ends."""
    from aae_utils import scheduling

    if scheduler:
        outcomes = scheduling.run_on_cluster(jobs, scheduler)
    elif _stacked(jobs, scheduler):
        outcomes = scheduling.run_stacked(jobs, processes)
    else:
        outcomes = scheduling.run_here(jobs, processes)
    with _termination_as_interrupt(), contextlib.closing(outcomes):
        for outcome in outcomes:
            progress.add(outcome)


def _in_words(outcome: Outcome) -> str:
    from aae_utils import report

    if outcome.status == "failed":
        return f"failed: {outcome.message}"
    time = f" in {report.time_in_words(outcome.seconds)}" if outcome.status == "trained" else ""
    return f"{outcome.status}{time}: {report.results_in_words(outcome.results)}"


def _recipe(name: str, setting: Setting, shrink: bool) -> Recipe:
    from aae_utils import recipes, variants

    recipe = variants.get_recipe(name, setting)
    return recipes.shrink(recipe) if shrink else recipe


def _names_on(dataset: str) -> list[str]:
    from aae_utils.variants import get_recipe, recipe_names

    return [name for name in recipe_names() if get_recipe(name).data.dataset == dataset]


def _changed(recipe: Recipe, arguments: list[str]) -> Recipe:
    """The recipe with fields given on the command line; under another name, unless nothing changes."""
    from aae_utils.recipes import Recipe
    from aae_utils.variants import recipe_names

    if not arguments:
        return recipe
    changed = tyro.cli(
        Recipe,
        default=recipe,
        args=arguments,
        prog=f"aae train {recipe.name}",
        description="Fields of the recipe that can be changed, beside the options of `aae train --help`.",
        config=OPTIONS,
    )
    if changed == recipe:
        return recipe
    named = any(argument.split("=")[0] == "--name" for argument in arguments)
    if changed.name == recipe.name and not named:
        return replace(changed, name=f"{recipe.name}-custom")
    if changed.name in recipe_names():
        raise ValueError(f"--name {changed.name} is the name of an unchanged recipe: give one of your own.")
    return changed


def _find_run(name: str, setting: Setting, seed: int | None, root: Path | None) -> Run:
    """The run that a folder, a run's name or a recipe's name stands for."""
    from aae_utils import runs

    place = Path(name).expanduser()
    if (place / runs.DESCRIPTION).is_file():
        return runs.load_run(place)
    folder = runs.existing_root(root)
    if len(place.parts) > 1:
        return runs.load_run(folder / place if (folder / place).is_dir() else place)
    if not (folder / name).is_dir():
        _recipe(name, setting, shrink=False)  # a name that nobody knows is the mistake to speak of
    return runs.find_run(name, setting, seed, folder)


def _root(root: Path | None, shrink: bool) -> Path:
    """Rehearsals stay apart from runs, since they bear the same names."""
    from aae_utils.runs import as_root

    folder = as_root(root)
    return folder.with_name(folder.name + "-rehearsal") if shrink and root is None else folder


def _require_device(name: str | None) -> None:
    import torch

    if name is None:
        return
    try:
        if torch.device(name).type not in DEVICES:
            raise ValueError(f"The device {name!r} cannot train: give one of {', '.join(DEVICES)}.")
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"The device {name!r} is not there: leave out --device, or give cpu.") from error


def _name_problems(problems: Sequence[str]) -> None:
    for problem in problems:
        print(problem, file=sys.stderr)


def _print_table(table: pd.DataFrame) -> None:
    print(table.to_markdown(index=False, tablefmt="simple", disable_numparse=True))


@contextlib.contextmanager
def _termination_as_interrupt() -> Iterator[None]:
    """End as cleanly by `kill` as by Ctrl-C."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit: 0 done, 1 a run failed, 2 a mistake in what was asked for."""
    try:
        sys.exit(_run(list(sys.argv[1:] if arguments is None else arguments)))
    except KeyboardInterrupt:
        _say("interrupted: give the same command again to continue.")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader of our output, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except (ValueError, OSError) as error:
        _say(str(error))
        sys.exit(MISTAKE)
    except (RuntimeError, MemoryError) as error:
        from aae_utils.errors import in_one_line, out_of_memory

        if not out_of_memory(error) and not type(error).__module__.startswith("aae_utils"):
            raise
        _say(in_one_line(error))
        sys.exit(FAILED)


def _run(arguments: list[str]) -> int:
    arguments, later = _without_help(arguments)
    parse = partial(tyro.cli, Command, args=arguments, prog="aae", description=DESCRIPTION, config=OPTIONS)
    command, rest = parse(return_unknown_args=True)
    if rest and not isinstance(command, Train):
        parse()  # says which argument is not known, and exits
    return int(command.run(rest + later))


def _without_help(arguments: list[str]) -> tuple[list[str], list[str]]:
    """`aae train RECIPE --help` asks for the fields of the recipe: its --help is for later."""
    if arguments[:1] != ["train"] or len(arguments) < 3 or arguments[1].startswith("-"):
        return arguments, []
    wanted = [argument for argument in arguments if argument in ("-h", "--help")]
    return [argument for argument in arguments if argument not in wanted], wanted


def _say(sentence: str) -> None:
    print(f"aae: {sentence}", file=sys.stderr)


if __name__ == "__main__":
    main()
