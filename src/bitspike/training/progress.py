"""What a person sees while training, on stderr: a bar on a terminal, one line per epoch elsewhere."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from bitspike.contracts import StepReport

REFRESH_SECONDS = 0.2
SILENT, SATURATED = 0.001, 0.99
WARN_AFTER_IMAGES = 2000


class Totals:
    """Sums of an epoch's step reports."""

    def __init__(self) -> None:
        self.loss, self.n, self.n_correct, self.decides = 0.0, 0, 0, True
        self.firing: list[float] = []

    def add(self, report: StepReport) -> None:
        self.loss += report.loss
        self.n += report.n
        self.n_correct += report.n_correct or 0
        self.decides = report.n_correct is not None
        self.firing = [
            a + b for a, b in zip(self.firing or [0.0] * len(report.firing), report.firing, strict=True)
        ]

    def as_list(self) -> list[float]:
        """The sums in a row, to be added up over processes."""
        return [self.loss, self.n, self.n_correct, *self.firing]

    def set(self, sums: list[float]) -> None:
        """Take over sums in the order of `as_list`."""
        self.loss, self.n, self.n_correct = sums[0], int(sums[1]), int(sums[2])
        self.firing = sums[3:]

    def figures(self) -> dict[str, Any]:
        """Loss, accuracy (not of a regression) and firing rates (share of a layer's neurons that fire), per image."""
        n = max(self.n, 1)
        accuracy = {"accuracy": self.n_correct / n} if self.decides else {}
        return {"loss": self.loss / n, **accuracy, "firing": [total / n for total in self.firing]}


class Display:
    """Shows a run, or with `shown` False its warnings only; the first `n_hidden` layers may be saturated."""

    def __init__(self, shown: bool, n_images: int, first_epoch: int, epochs: int, n_hidden: int) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._shown, self._n_images, self._epochs, self._n_hidden = shown, n_images, epochs, n_hidden
        self._first, self._began, self._refreshed = first_epoch, time.monotonic(), 0.0
        self._warned: set[int] = set()
        self._bar: Progress | None = None
        if shown and self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"),
                TimeRemainingColumn(),
                console=self._console, auto_refresh=False, transient=True,
            )  # fmt: skip
            total = (epochs - first_epoch + 1) * n_images
            self._task = self._bar.add_task("", total=total, note="")
            self._bar.start()

    def header(self, text: str) -> None:
        """A line above everything else."""
        if self._shown:
            self._console.print(text, markup=False)

    def step(self, epoch: int, done: int, totals: Totals) -> None:
        """Called after each batch, `done` images into the epoch; draws a few times a second."""
        if epoch == self._first and done >= WARN_AFTER_IMAGES and not self._warned:
            self.warn(totals.figures()["firing"])
        if self._bar is None:
            return
        now = time.monotonic()
        if now - self._refreshed >= REFRESH_SECONDS:
            self._refreshed = now
            speed = ((epoch - self._first) * self._n_images + done) / (now - self._began)
            self._bar.update(
                self._task,
                description=f"epoch {epoch}/{self._epochs}",
                completed=(epoch - self._first) * self._n_images + done,
                note=f"{_note(totals.figures())}  {speed:,.0f} images/s",
            )
            self._bar.refresh()

    def epoch(self, figures: dict[str, Any]) -> None:
        """One line for an epoch that is over, and warnings about its layers."""
        self.warn(figures["firing"])
        if self._shown:
            epoch = figures["epoch"]
            left = (time.monotonic() - self._began) / (epoch - self._first + 1) * (self._epochs - epoch)
            accuracy, error = figures.get("validation_accuracy"), figures.get("validation_rmse")
            held_out = "" if accuracy is None else f"  validation {100 * accuracy:.2f} %"
            held_out += "" if error is None else f"  validation error {error:.4f}"
            self._console.print(
                f"epoch {epoch}/{self._epochs}  {_note(figures)}{held_out}  "
                f"{figures['images_per_second']:,.0f} images/s  {_clock(left)} left",
                markup=False,
            )

    def warn(self, firing: list[float]) -> None:
        """Say, once per layer, that a layer is silent, or a hidden one saturated, and what to do."""
        for layer, rate in enumerate(firing):
            silent, saturated = rate < SILENT, rate > SATURATED and layer < self._n_hidden
            if layer in self._warned or not (silent or saturated):
                continue
            self._warned.add(layer)
            state = "is silent" if silent else "is saturated"
            mend = (
                "it passes nothing on: start its weights higher, or take smaller steps (optimizer.lr)"
                if silent
                else "it tells images not apart: start its weights lower, or take smaller steps"
            )
            self._console.print(
                f"warning: layer {layer + 1} {state} ({100 * rate:.2f} % of its neurons fire); {mend}",
                style="yellow",
                markup=False,
            )

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()


def _note(figures: dict[str, Any]) -> str:
    firing = " / ".join(f"{100 * rate:.1f}" for rate in figures["firing"])
    accuracy = f"accuracy {100 * figures['accuracy']:.2f} %  " if "accuracy" in figures else ""
    return f"loss {figures['loss']:.4f}  {accuracy}firing {firing} %"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
