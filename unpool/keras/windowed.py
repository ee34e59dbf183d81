"""The base class of pooling and unpooling layers: a window and two formats, and all in a saved configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import keras

import unpool
from unpool.arguments import IndexFormatWord, data_format_of, index_format_of, is_channels_last, window
from unpool.keras import messages
from unpool.sizes import LAYOUTS
from unpool.windows import Window


class Windowed(keras.layers.Layer):  # type: ignore[misc]
    """A layer with the arguments of Keras' pooling layers, checked when it is made."""

    rank: ClassVar[int]
    # True if `pool_size=None` stands for no window.
    window_optional: ClassVar[bool] = False

    @messages.in_words_of_layers
    def __init__(
        self,
        pool_size: int | Sequence[int] | None,
        strides: int | Sequence[int] | None,
        padding: str | int | Sequence[int | Sequence[int]],
        data_format: str | None,
        index_format: IndexFormatWord,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        padding = _lower(padding)
        names = ("pool_size", "strides")
        checked = window(self.rank, pool_size, strides, padding, 1, names, optional=self.window_optional)
        shown = checked.shown()
        self.pool_size, self.strides = shown["kernel_size"], shown["stride"]
        self.padding = padding if isinstance(padding, str) else shown["padding"]
        if data_format is None:
            data_format = keras.config.image_data_format()
        plain = _lower(data_format) if _lower(data_format) in ("channels_first", "channels_last") else data_format
        self.data_format = data_format_of(plain, self.rank)
        self.index_format = index_format_of(index_format)

    @messages.in_words_of_layers
    def __call__(self, *args: Any, **named: Any) -> Any:
        return super().__call__(*args, **named)

    @property
    def window(self) -> Window:
        return window(self.rank, self.pool_size, self.strides, self.padding, 1, optional=self.window_optional)

    @property
    def channels_last(self) -> bool:
        return is_channels_last(self.data_format, self.rank)

    def function(self, name: str) -> Any:
        """Return the function of this layer's rank, such as ``unpool.max_pool2d`` for ``max_pool``."""
        return getattr(unpool, f"{name}{self.rank}d")

    def check_batched(self, argument: str, shape: Sequence[int | None]) -> tuple[Any, ...]:
        """Return a shape as a tuple; refuse one without a batch, as Keras' own layers do."""
        if len(shape) != self.rank + 2:
            raise messages.not_batched(argument, shape, LAYOUTS[self.rank, self.channels_last][0])
        return tuple(shape)

    def get_config(self) -> dict[str, Any]:
        names = ("pool_size", "strides", "padding", "data_format", "index_format")
        config: dict[str, Any] = super().get_config()
        return config | {name: getattr(self, name) for name in names}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Return the layer of a configuration; one without `index_format`, of an earlier version, means "plane"."""
        return super().from_config({"index_format": "plane"} | config)


def _lower(word: Any) -> Any:
    """Return a string in lower case, because Keras ignores the case; return other values as they are."""
    return word.lower() if isinstance(word, str) else word
