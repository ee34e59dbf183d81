"""Max pooling layers that also return the index of each maximum, for the layers of `unpool.keras.unpooling`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from unpool import dtypes
from unpool.arguments import IndexFormatWord
from unpool.keras import messages
from unpool.keras.windowed import Windowed
from unpool.plan import plan_pooling


class _MaxPooling(Windowed):
    def __init__(
        self,
        pool_size: int | Sequence[int] = 2,
        strides: int | Sequence[int] | None = None,
        padding: str | int | Sequence[int | Sequence[int]] = "valid",
        data_format: str | None = None,
        *,
        index_format: IndexFormatWord = "window",
        index_dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_size, strides, padding, data_format, index_format, **kwargs)
        self.index_dtype = dtypes.index_dtype_of(index_dtype, index_format, self.window)

    def call(self, inputs: Any) -> tuple[Any, Any]:
        self.check_batched("inputs", inputs.shape)
        options = {name: getattr(self, name) for name in ("data_format", "index_format", "index_dtype")}
        window = self.pool_size, self.strides, self.padding
        pair: tuple[Any, Any] = self.function("max_pool")(inputs, *window, return_indices=True, **options)
        return pair

    # Keras' summary of a subclassed model passes the shape by the name `input_shape`, the argument of `Layer.build`.
    @messages.in_words_of_layers
    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[Any, Any]:
        shape = self.check_batched("inputs", input_shape)
        indexed = self.index_dtype, self.index_format
        pooled = plan_pooling(shape, self.window, False, self.channels_last, *indexed).pooled_shape
        return pooled, pooled

    def compute_output_spec(self, inputs: Any) -> tuple[Any, Any]:
        dtypes.check_values("inputs", dtypes.name(inputs.dtype), dtypes.REALS)
        shape, _ = self.compute_output_shape(inputs.shape)
        return keras.KerasTensor(shape, inputs.dtype), keras.KerasTensor(shape, _of_this_backend(self.index_dtype))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"index_dtype": self.index_dtype}


def _of_this_backend(dtype: str) -> str:
    """Return the dtype of the indices on this Keras backend: JAX has int64 in its 64-bit mode only."""
    if keras.backend.backend() != "jax":
        return dtype
    import jax

    return str(jax.dtypes.canonicalize_dtype(dtype).name)


@keras.saving.register_keras_serializable(package="unpool")
class MaxPooling1DWithIndices(_MaxPooling):
    """Take the maximum of each window of a row, and its index: `MaxPooling2DWithIndices` with one dimension less.

    Args:
        pool_size, strides, padding, data_format, index_format, index_dtype: As in `MaxPooling2DWithIndices`, integers
            or sequences of one.

    Input shape:
        - If `data_format="channels_last"`: `(batch_size, steps, features)`
        - If `data_format="channels_first"`: `(batch_size, features, steps)`

    Output shape:
        A pair `(values, indices)`, both with `pooled_steps` in the place of `steps`.

    Example:
    >>> import numpy as np
    >>> values, indices = MaxPooling1DWithIndices(2)(np.array([[[1.0], [5.0], [3.0], [4.0]]]))
    >>> np.asarray(values).ravel().tolist(), np.asarray(indices).ravel().tolist()
    ([5.0, 4.0], [1, 1])
    """

    rank = 1


@keras.saving.register_keras_serializable(package="unpool")
class MaxPooling2DWithIndices(_MaxPooling):
    """Take the maximum of each window of a picture, and its index.

    The values are those of `keras.layers.MaxPooling2D`.  An index is the number of a tap of its own window.  The taps
    are the cells that the window reads, counted row by row, padding cells included.

        index = row_in_window * pool_cols + col_in_window

    Of equal maxima the first is taken.  A window that holds NaN pools to NaN, and its index is that of its last NaN.
    `MaxUnpooling2D` puts values back by the indices.  With `padding="valid"`, or with integers, which add rows before
    and after the picture,

        pooled_rows = floor((before + rows + after - pool_size) / strides) + 1

    and with `padding="same"`, which pads as much as the windows need, the smaller half before the picture,

        pooled_rows = ceil(rows / strides)

    Gradients flow through the values to the cells that they came from.

    Args:
        pool_size: Integer or pair of integers, the size of a window. Defaults to 2.
        strides: Integer or pair of integers, the distance between windows. Defaults to `pool_size`.
        padding: `"valid"`, `"same"`, or ONNX's `"same_lower"`, which pads the larger half before the picture. Or an
            integer, or one for each dimension: the number of cells on both sides, at most half of `pool_size`. Or a
            pair `(before, after)` for each dimension, each less than `pool_size`. Padding cells are never a maximum.
            Defaults to `"valid"`.
        data_format: `"channels_last"` or `"channels_first"`. Defaults to `keras.config.image_data_format()`.
        index_format: `"window"`, or `"plane"`: an index is then the flat position `row * cols + col` in the plane of
            its own sample and channel, in both data formats, as PyTorch and `unpool.max_pool2d` count. Defaults to
            `"window"`, which takes an eighth of the memory.
        index_dtype: For `"window"`, `"uint8"`, `"uint16"`, `"int32"` or `"int64"`; defaults to the smallest that holds
            every tap of a window, `"uint8"` up to 256. For `"plane"`, `"int64"` or `"int32"`; defaults to `"int64"`.
            JAX returns `"int32"` for `"int64"` unless its 64-bit mode is on.
        **kwargs: `name`, `dtype` and `trainable`, as in all layers.

    Input shape:
        - If `data_format="channels_last"`: `(batch_size, rows, cols, channels)`
        - If `data_format="channels_first"`: `(batch_size, channels, rows, cols)`

    Output shape:
        A pair `(values, indices)`, both of shape
        - `(batch_size, pooled_rows, pooled_cols, channels)` if `data_format="channels_last"`
        - `(batch_size, channels, pooled_rows, pooled_cols)` if `data_format="channels_first"`

    Raises:
        TypeError: If an argument is not an integer, or the inputs are complex.
        ValueError: If an argument is out of its range, the input is smaller than a window, or `index_dtype` does not
            hold every tap of a window.

    Example:
    >>> import numpy as np
    >>> x = np.arange(12.0).reshape(1, 4, 3, 1)
    >>> values, indices = MaxPooling2DWithIndices(2)(x)
    >>> np.asarray(values).ravel().tolist(), np.asarray(indices).ravel().tolist()
    ([4.0, 10.0], [3, 3])

    With `padding="same"`, an odd size has one more window:

    >>> values, indices = MaxPooling2DWithIndices(2, padding="same")(x)
    >>> np.asarray(indices)[0, ..., 0].tolist()
    [[3, 2], [3, 2]]

    The same cells as positions in the plane:

    >>> values, indices = MaxPooling2DWithIndices(2, padding="same", index_format="plane")(x)
    >>> np.asarray(indices)[0, ..., 0].tolist()
    [[4, 5], [10, 11]]

    Source: the semantics of `torch.nn.MaxPool2d(return_indices=True)`.
    """

    rank = 2


@keras.saving.register_keras_serializable(package="unpool")
class MaxPooling3DWithIndices(_MaxPooling):
    """Take the maximum of each window of a volume, and its index: `MaxPooling2DWithIndices` with a depth.

    An index is `(depth * pool_rows + row) * pool_cols + col` in its window, and `(depth * rows + row) * cols + col` in
    the plane.

    Args:
        pool_size, strides, padding, data_format, index_format, index_dtype: As in `MaxPooling2DWithIndices`, integers
            or triples.

    Input shape:
        - If `data_format="channels_last"`: `(batch_size, depths, rows, cols, channels)`
        - If `data_format="channels_first"`: `(batch_size, channels, depths, rows, cols)`

    Output shape:
        A pair `(values, indices)`, both with the pooled sizes in the place of the spatial ones.

    Example:
    >>> import numpy as np
    >>> values, indices = MaxPooling3DWithIndices(2)(np.arange(8.0).reshape(1, 2, 2, 2, 1))
    >>> np.asarray(values).ravel().tolist(), np.asarray(indices).ravel().tolist()
    ([7.0], [7])
    """

    rank = 3
