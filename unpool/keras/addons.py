"""Replacements for TensorFlow Addons' `MaxUnpooling2D` and `MaxUnpooling2DV2`, on every Keras backend.

>>> import numpy as np
>>> from unpool.keras import addons
>>> restored = addons.MaxUnpooling2D()(np.array([[[[5.0]]]]), np.array([[[[2]]]]))
>>> np.asarray(restored)[0, ..., 0].tolist()
[[0.0, 0.0], [5.0, 0.0]]

TensorFlow Addons ended in 2024, and does not import beside Keras 3.  Names, arguments, defaults and results are the
same, and models saved with its layers load with these once this module is imported.  Two cases that it got wrong
silently are errors here: an index of another channel, as ``include_batch_in_index=True`` makes them, and a float mask
that cannot be exact.  New models should use `unpool.keras.MaxUnpooling2D`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import keras

import unpool
from unpool import dtypes
from unpool.arguments import check_choice, per_axis, sizes_of, window
from unpool.backends import arithmetic_of
from unpool.keras import messages
from unpool.plan import plan_unpooling
from unpool.protocol import DUPLICATES, Duplicates
from unpool.sizes import LAYOUTS, Number, common_shape
from unpool.windows import Window, default_size

__all__ = ["MaxUnpooling2D", "MaxUnpooling2DV2"]

# Each dtype holds every integer up to this one exactly.
_EXACT = {"bfloat16": 2**8, "float16": 2**11, "float32": 2**24, "float64": 2**53}


class _MaxUnpooling(keras.layers.Layer):  # type: ignore[misc]
    output_size: tuple[Any, ...] | None = None

    def __init__(self, duplicates: Duplicates, **kwargs: Any) -> None:
        # Keras' autocast would round a float mask to the layer's dtype; `call` casts the values alone.
        super().__init__(autocast=False, **kwargs)
        self.duplicates = check_choice("duplicates", duplicates, DUPLICATES)

    def window(self, pooled: Sequence[Any]) -> Window:
        """Return the window of the pooling, from the spatial sizes of the pooled values."""
        raise NotImplementedError

    def plane(self, pooled: Sequence[Any]) -> tuple[Any, ...]:
        """Return the spatial sizes of the picture, from those of the pooled values."""
        raise NotImplementedError

    def call(self, updates: Any, mask: Any) -> Any:
        _check_shapes(updates.shape, mask.shape)
        batch, *pooled, channels = keras.ops.shape(updates)
        size = (batch, *self.plane(pooled), channels)
        indices = unpool.convert_indices(
            _integers(mask, size), "tensorflow", "plane", output_size=size, data_format="channels_last"
        )
        return self.restore(keras.ops.cast(updates, self.dtype_of(updates)), indices)

    def restore(self, values: Any, indices: Any, validate: bool = True) -> Any:
        """Put values back by indices in the convention "plane"."""
        pooling = self.window(values.shape[1:3])
        return unpool.max_unpool2d(
            values,
            indices,
            pooling.kernel,
            pooling.stride,
            pooling.shown()["padding"],
            self.output_size,
            data_format="channels_last",
            duplicates=self.duplicates,
            validate=validate,
        )

    def dtype_of(self, updates: Any) -> str:
        dtype = dtypes.name(updates.dtype)
        return str(self.compute_dtype) if "float" in dtype else dtype

    # Keras' summary of a subclassed model passes the shape of `updates` alone, by the name `input_shape`.
    def compute_output_shape(self, input_shape: Sequence[Any]) -> tuple[int | None, ...]:
        pair = input_shape if isinstance(input_shape[0], (list, tuple)) else (input_shape, input_shape)
        shape = _check_shapes(*pair)
        return plan_unpooling(shape, self.window(shape[1:3]), self.output_size, True, True, "updates").plane_shape

    def compute_output_spec(self, updates: Any, mask: Any) -> Any:
        return keras.KerasTensor(self.compute_output_shape([updates.shape, mask.shape]), self.dtype_of(updates))

    def compute_mask(self, updates: Any, previous_mask: Any) -> None:
        """Return no mask: Keras takes the argument `mask` for one of its own masks, because of the name."""

    def get_config(self) -> dict[str, Any]:
        config: dict[str, Any] = super().get_config()
        return config | {"duplicates": self.duplicates}


def _check_shapes(updates: Sequence[Any], mask: Sequence[Any]) -> tuple[Any, ...]:
    if len(updates) != 4:
        raise messages.not_batched("updates", updates, LAYOUTS[2, True][0])
    return common_shape("mask", tuple(mask), "updates", tuple(updates))


def _integers(mask: Any, size: Sequence[Any]) -> Any:
    """Return a mask as integers; users of TensorFlow Addons cast masks to floats."""
    dtype = dtypes.name(mask.dtype)
    if dtype not in _EXACT:
        return mask
    arithmetic = arithmetic_of(["mask"], [mask])
    positions, most = prod([arithmetic.number(entry) for entry in size[1:]]), _EXACT[dtype]

    def too_many(number: Number) -> Exception:
        return messages.inexact_mask(dtype, number(positions), most)

    def no_integer(number: Number, flat: Any) -> Exception:
        return messages.not_whole(dtype, number(flat))

    mask = arithmetic.require(positions <= most, mask, too_many)
    integers = arithmetic.cast(mask, "int64")
    whole = keras.ops.equal(keras.ops.cast(integers, dtype), mask)
    # Where a traced program cannot raise, a value that is not an integer becomes a bad index, which is dropped.
    return arithmetic.require_all(whole, keras.ops.where(whole, integers, -1), no_integer)


@keras.saving.register_keras_serializable(package="Addons")
class MaxUnpooling2D(_MaxUnpooling):
    """Put each value of pooled pictures back where `tf.nn.max_pool_with_argmax` took it from; all else is zero.

    A replacement for `tfa.layers.MaxUnpooling2D`, with the same arguments, defaults and results:

        output[n].flat[mask[n, i, j, c]] += updates[n, i, j, c],    mask = (row * cols + col) * channels + c

    `cols` is the number of columns of the output. The mask of a picture of another size, such as one that `strides`
    does not divide, was made with another number of columns. TensorFlow Addons silently sheared such a picture, and so
    does this layer, unless an index is out of range. To restore it, use `MaxUnpooling2DV2` with the size of the
    picture, or `unpool.keras.MaxUnpooling2D` with `like`.

    One difference: a value of `mask` that is out of range, or of another channel, is an error. TensorFlow Addons
    ignored the channel, and on a GPU the range, too. Programs that XLA compiles also ignore the channel. For values out
    of range, JAX programs on the CPU raise an error at run time; programs of TensorFlow, and on a GPU, drop them.

    Args:
        pool_size: Integer or pair of integers, as in the pooling. Defaults to `(2, 2)`.
        strides: Integer or pair of integers, as in the pooling. Defaults to `(2, 2)`, for any `pool_size`.
        padding: `"SAME"` or `"VALID"`, in upper or lower case, as in the pooling. Defaults to `"SAME"`.
        duplicates: The rule for repeated indices, which overlapping windows may have: `"sum"`, the values add up, as in
            TensorFlow Addons; `"last"`, the last one in row-major order wins; `"error"`, an error is raised. The
            gradient follows the rule. Defaults to `"sum"`.
        **kwargs: `name`, `dtype` and `trainable`, as in all layers.

    Call arguments:
        updates: The values.
        mask: Their positions, as `tf.nn.max_pool_with_argmax` returns them with `include_batch_in_index=False`, of
            the shape of `updates`. Floats are accepted where they are exact: in pictures of at most 2**24 numbers (rows
            times cols times channels) for float32, 2**53 for float64, 2**11 for float16 and 2**8 for bfloat16. The
            layer's dtype policy does not cast them.

    Input shape:
        `(batch_size, pooled_rows, pooled_cols, channels)`

    Output shape:
        `(batch_size, rows, cols, channels)`, where `rows` is
        - `pooled_rows * strides` for `padding="SAME"`
        - `(pooled_rows - 1) * strides + pool_size` for `padding="VALID"`

    Raises:
        IndexError: If a value of `mask` is out of range or of another channel, in an eager call; `InvalidArgumentError`
            in TensorFlow's graphs.
        TypeError: If `pool_size` or `strides` are not integers, or `mask` is not an array of numbers.
        ValueError: If an argument is out of its range, shapes do not fit, or a float mask is not exact.

    Example:
    >>> import numpy as np
    >>> values, mask = np.array([[[[5.0, 6.0]]]]), np.array([[[[2, 7]]]])
    >>> restored = MaxUnpooling2D()(values, mask)
    >>> np.asarray(restored)[0, ..., 0].tolist(), np.asarray(restored)[0, ..., 1].tolist()
    ([[0.0, 5.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 6.0]])

    Source: `tfa.layers.MaxUnpooling2D` of TensorFlow Addons 0.23.
    """

    def __init__(
        self,
        pool_size: int | Sequence[int] = (2, 2),
        strides: int | Sequence[int] = (2, 2),
        padding: str = "SAME",
        *,
        duplicates: Duplicates = "sum",
        **kwargs: Any,
    ) -> None:
        super().__init__(duplicates, **kwargs)
        self.padding = padding.upper() if isinstance(padding, str) else padding
        check_choice("padding", self.padding, ("SAME", "VALID"))
        checked = window(2, pool_size, strides, self.padding.lower(), 1, ("pool_size", "strides"))
        self.pool_size, self.strides = checked.kernel, checked.stride

    def window(self, pooled: Sequence[Any]) -> Window:
        return window(2, self.pool_size, self.strides, self.padding.lower(), 1)

    def plane(self, pooled: Sequence[Any]) -> tuple[Any, ...]:
        return tuple([default_size(*along) for along in zip(pooled, *self.window(pooled), strict=True)])

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {name: getattr(self, name) for name in ("pool_size", "strides", "padding")}


@keras.saving.register_keras_serializable(package="Addons")
class MaxUnpooling2DV2(_MaxUnpooling):
    """Put each value of pooled pictures of one given size back where `tf.nn.max_pool_with_argmax` took it from.

    A replacement for `tfa.layers.MaxUnpooling2DV2`: `MaxUnpooling2D` for pictures of any size, odd ones too. It fits
    any pooling, since it needs the size of the picture alone.

    Args:
        output_size: Four integers, `(batch_size, rows, cols, channels)`: the shape of the pictures that were pooled.
            The batch and the channels may be `None`, for any. Neither rows nor cols can be fewer than the pooled ones.
        duplicates: As in `MaxUnpooling2D`. Defaults to `"sum"`.
        **kwargs: `name`, `dtype` and `trainable`, as in all layers.

    Call arguments:
        updates, mask: As in `MaxUnpooling2D`.

    Input shape:
        `(batch_size, pooled_rows, pooled_cols, channels)`

    Output shape:
        `(batch_size, rows, cols, channels)`

    Raises:
        IndexError, TypeError: As `MaxUnpooling2D` does.
        ValueError: As `MaxUnpooling2D` does, and if `output_size` is `None`, not four integers, or does not fit.

    Example:
    >>> import numpy as np
    >>> restored = MaxUnpooling2DV2((1, 1, 3, 1))(np.array([[[[5.0], [6.0]]]]), np.array([[[[1], [2]]]]))
    >>> np.asarray(restored).ravel().tolist()
    [0.0, 5.0, 6.0]

    Source: `tfa.layers.MaxUnpooling2DV2` of TensorFlow Addons 0.23.
    """

    def __init__(
        self, output_size: Sequence[int | None] | None, *, duplicates: Duplicates = "sum", **kwargs: Any
    ) -> None:
        super().__init__(duplicates, **kwargs)
        if output_size is None:
            raise messages.four_sizes(output_size)
        sizes, _ = sizes_of("output_size", output_size, 2, True)
        if len(sizes) != 4:
            raise messages.four_sizes(sizes)
        per_axis("output_size", sizes[1:3], 2, 1)
        self.output_size = sizes

    def window(self, pooled: Sequence[Any]) -> Window:
        windows = map(_any_window, pooled, self.plane(pooled))
        kernel, stride = zip(*windows, strict=True)
        return window(2, kernel, stride, 0, 1)

    def plane(self, pooled: Sequence[Any]) -> tuple[Any, ...]:
        assert self.output_size is not None
        return self.output_size[1:3]

    def restore(self, values: Any, indices: Any, validate: bool = True) -> Any:
        if all(isinstance(count, int) for count in values.shape[1:3]):
            return super().restore(values, indices, validate)
        # Kernel and stride must be integers, but only the run has the number of windows that they follow from. So pad
        # to one window per cell. An added window has a bad index, which is dropped; `call` has checked the others.
        batch, *pooled, channels = keras.ops.shape(values)
        ends = [(0, size - count) for size, count in zip(self.plane(pooled), pooled, strict=True)]
        values, indices = (
            keras.ops.pad(array, [(0, 0), *ends, (0, 0)], constant_values=fill)
            for array, fill in ((values, 0), (indices, -1))
        )
        full = (batch, *self.plane(pooled), channels)
        return super().restore(keras.ops.reshape(values, full), keras.ops.reshape(indices, full), validate=False)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"output_size": self.output_size}


def _any_window(pooled: int | None, size: int) -> tuple[int, int]:
    """Return a kernel and stride with which `size` pools to `pooled`; the result does not depend on the choice.

    >>> _any_window(4, 8), _any_window(4, 9), _any_window(3, 17)
    ((2, 2), (2, 2), (6, 6))
    """
    if pooled is None:
        return 1, 1
    stride = max(1, round(size / pooled))
    # Windows that do not overlap are unpooled fastest.
    return (stride, stride) if abs(size - pooled * stride) < stride else (max(1, size - pooled + 1), 1)
