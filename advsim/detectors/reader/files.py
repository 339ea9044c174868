"""The files of a reader: ``weights.safetensors``, and ``reader.json`` with what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from advsim.config import ModelConfig
from advsim.config.paths import local_path
from advsim.detectors import saved
from advsim.detectors.reader.network import BASE, KEY, DialogueReader
from advsim.detectors.reader.windows import WINDOWS_VERSION
from advsim.errors import ConfigError
from advsim.models.base import check_model
from advsim.models.embedder import FloatArray
from advsim.records import Turn

DESCRIPTION_FILE = "reader.json"
SHIPPED = Path(__file__).with_name("shipped")
"""Folder of the weights that ship; ``advsim detectors train --reader`` makes such a folder."""


class ReaderDescription(BaseModel):
    """Contents of ``reader.json``.

    Attributes:
        modes: the outputs in order.
        num_messages: that it was trained on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    format: Literal["advsim-reader"] = "advsim-reader"
    windows_version: int = WINDOWS_VERSION
    base: str = BASE
    modes: Annotated[tuple[str, ...], Field(min_length=1)]
    num_messages: int


def save_reader(folder: Path, description: ReaderDescription, tensors: dict[str, Tensor]) -> None:
    """Write both files into a folder, which is made."""
    saved.save(folder, DESCRIPTION_FILE, description, tensors)


class LazyReader:
    """A saved reader: its files are read at once, its model is loaded when it first reads a dialogue.

    A sweep checks its detector before hours of simulation, beside which a model that waits would hold memory.

    Args:
        folder: with the files.

    Raises:
        ConfigError: the folder holds no reader that can be used.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._description, self._tensors = saved.load(
            folder,
            DESCRIPTION_FILE,
            ReaderDescription,
            of_this_version={"windows_version": WINDOWS_VERSION, "base": BASE},
            remedy="train the reader again",
        )
        head = self._tensors.get("head.weight")
        if head is None or len(head) != len(self.modes):
            raise ConfigError(
                f"{folder}: the two files do not belong together ({len(self.modes)} modes, weights of "
                f"{0 if head is None else len(head)}); train the reader again"
            )
        check_model(ModelConfig(path=BASE), key=KEY)
        self._network: DialogueReader | None = None

    @property
    def modes(self) -> tuple[str, ...]:
        """What it scores."""
        return self._description.modes

    def scores(self, turns: Sequence[Turn]) -> dict[int, FloatArray]:
        """As :meth:`advsim.detectors.reader.network.DialogueReader.scores`.

        Raises:
            ConfigError: the two files do not belong together, or the base model cannot be had.
        """
        return self.network.scores(turns)

    @property
    def network(self) -> DialogueReader:
        """The model with its updates."""
        if self._network is None:
            network = DialogueReader(self.modes)
            try:
                network.load_tensors(self._tensors)
            except ValueError as error:
                raise ConfigError(
                    f"{self._folder}: the two files do not belong together ({error}); train the reader again"
                ) from None
            self._network, self._tensors = network, {}
        return self._network


def load_reader(folder: str | None = None) -> LazyReader:
    """The reader saved in a folder, or the one that ships.

    Raises:
        ConfigError: the folder holds no reader that can be used.
    """
    return LazyReader(SHIPPED if folder is None else local_path(folder, key="evaluate.reader"))
