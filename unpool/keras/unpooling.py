"""Max unpooling layers, which put each value back where a layer of `unpool.keras.pooling` took it from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from unpool import calls, dtypes
from unpool.arguments import IndexFormatWord, check_choice, check_validate, per_axis, sizes_of
from unpool.keras import messages
from unpool.keras.windowed import Windowed
from unpool.plan import Validate, plan_unpooling
from unpool.protocol import DUPLICATES, Duplicates
from unpool.sizes import check_no_window, common_shape, spatial_axes
from unpool.warned import warn_of_default_size


class _MaxUnpooling(Windowed):
    window_optional = True

    def __init__(
        self,
        pool_size: int | Sequence[int] | None = 2,
        strides: int | Sequence[int] | None = None,
        padding: str | int | Sequence[int | Sequence[int]] = "valid",
        output_size: int | Sequence[int] | None = None,
        data_format: str | None = None,
        duplicates: Duplicates = "last",
        *,
        index_format: IndexFormatWord | None = None,
        validate: Validate = True,
        **kwargs: Any,
    ) -> None:
        if index_format is None:
            index_format = "plane" if pool_size is None else "window"
        super().__init__(pool_size, strides, padding, data_format, index_format, **kwargs)
        self.output_size = None if output_size is None else per_axis("output_size", output_size, self.rank, 1)
        check_choice("duplicates", duplicates, DUPLICATES)
        self.duplicates, self.validate = duplicates, check_validate(validate)
        if self.window.missing:
            check_no_window(self.index_format, self.validate, "pool_size")

    def call(self, inputs: Any, indices: Any = None, output_size: Any = None, like: Any = None) -> Any:
        values, indices = _pair(inputs, indices)
        self.check_batched("inputs", values.shape)
        shape = None if like is None else keras.ops.shape(self._array(like))
        size = self._size(output_size, shape)
        terms = calls.Terms(("inputs", "indices", "out"), _sized_by(size, like), real=False)
        how = self.data_format, self.index_format, self.duplicates, None, self._checks(size), None
        return calls.scatter(values, indices, self.window, size, *how, terms)

    @messages.in_words_of_layers
    def compute_output_shape(
        self,
        inputs_shape: Any = None,
        indices_shape: Any = None,
        output_size: Any = None,
        like_shape: Sequence[int | None] | None = None,
        *,
        input_shape: Any = None,
    ) -> tuple[int | None, ...]:
        if input_shape is not None:
            # Keras' summary of a subclassed model passes the argument of `Layer.build`, which does not tell the size
            # of a call.  It prints "?" then.
            raise NotImplementedError
        if indices_shape is None:
            if len(inputs_shape) != 2:
                raise messages.not_a_pair(inputs_shape, indices_shape)
            inputs_shape, indices_shape = inputs_shape
        shape = self.check_batched("inputs", inputs_shape)
        shape = common_shape("indices", tuple(indices_shape), "inputs", shape)
        size = self._size(output_size, like_shape)
        sized_by = _sized_by(size, like_shape)
        if isinstance(size, keras.KerasTensor):
            size = (None,) * self.rank
        elif size is not None and size is not self.output_size and like_shape is None:
            size, _ = sizes_of("output_size", size, self.rank, self.channels_last)
        how = self._checks(size), "inputs", sized_by, self.index_format
        return plan_unpooling(shape, self.window, size, self.channels_last, *how).plane_shape

    def _checks(self, size: Any) -> Validate:
        """Return the `validate` of a call; without a size, "same" and "same_lower" need the check of windows.

        The default size is the largest, so positions in a smaller plane are in range.  The first axis does not enter a
        position, so only the other axes can shear the picture.  Taps are refused if their windows' places depend on the
        size.
        """
        window = self.window
        shearing = window.stride[1:] if self.index_format == "plane" else window.stride
        if size is None and window.same and self.validate and max(shearing, default=1) > 1:
            return "windows"
        return self.validate

    def compute_output_spec(self, inputs: Any, indices: Any = None, output_size: Any = None, like: Any = None) -> Any:
        values, indices = _pair(inputs, indices)
        dtypes.check_pair("inputs", values.dtype, indices.dtype, self.index_format, real=False)
        like_shape = None if like is None else self._array(like).shape
        shape = self.compute_output_shape(values.shape, indices.shape, output_size, like_shape)
        if self._size(output_size, like_shape) is None:
            self._warn_of_default(values.shape)
        return keras.KerasTensor(shape, values.dtype)

    def _array(self, like: Any) -> Any:
        """Return `like`; refuse a shape in its place."""
        if isinstance(like, (list, tuple)):
            self.check_batched("like", (len(like),))
        return like

    def _warn_of_default(self, shape: Sequence[int | None]) -> None:
        """Warn if the default size may be wrong, on JAX, whose programs may drop the indices that would tell."""
        sizes = shape[spatial_axes(len(shape), self.rank, self.channels_last)]
        unknown = any(size is None and stride > 1 for size, stride in zip(sizes, self.strides, strict=True))
        if unknown and keras.backend.backend() == "jax":
            warn_of_default_size("like", shape)

    def _size(self, output_size: Any, like_shape: Sequence[Any] | None) -> Any:
        """Return the size for a call; an argument of the call overrides that of the layer."""
        if like_shape is None:
            if isinstance(output_size, int):
                return (output_size,) * self.rank
            return self.output_size if output_size is None else self._checked(output_size)
        if output_size is not None:
            raise messages.two_sizes()
        shape = self.check_batched("like", like_shape)
        return shape[spatial_axes(len(shape), self.rank, self.channels_last)]

    def _checked(self, output_size: Any) -> Any:
        """Return an `output_size` of a call; refuse a tensor that was meant as `like`, and a shape with open sizes."""
        if len(getattr(output_size, "shape", ())) > 1:
            raise messages.tensor_as_size(output_size)
        if isinstance(output_size, (list, tuple)):
            spatial = output_size[spatial_axes(len(output_size), self.rank, self.channels_last)]
            if any(size is None for size in spatial):  # `in` would compare tensors
                raise messages.open_size(output_size)
        return output_size

    def get_config(self) -> dict[str, Any]:
        names = ("output_size", "duplicates", "validate")
        return super().get_config() | {name: getattr(self, name) for name in names}


def _sized_by(size: Any, like: Any) -> str:
    """Return the name of the argument that gave the size, or else of the one to pass it by."""
    return "like" if size is None or like is not None else "output_size"


def _pair(inputs: Any, indices: Any) -> tuple[Any, Any]:
    """Return the values and the indices, which may be passed as one pair."""
    together = isinstance(inputs, (list, tuple))
    if together is (indices is not None) or (together and len(inputs) != 2):
        raise messages.not_a_pair(inputs, indices)
    values, indices = inputs if together else (inputs, indices)
    dtypes.check_arrays("inputs", values, indices)
    if dtypes.name(indices.dtype) not in dtypes.INTEGERS:
        raise messages.not_integer_indices(dtypes.name(indices.dtype))
    return values, indices


@keras.saving.register_keras_serializable(package="unpool")
class MaxUnpooling1D(_MaxUnpooling):
    """Put each value of pooled rows back: `MaxUnpooling2D` with one dimension less.

    Args:
        pool_size, strides, padding, output_size, data_format, duplicates, index_format, validate: As in
            `MaxUnpooling2D`, integers or sequences of one.

    Call arguments:
        inputs, indices, output_size, like: As in `MaxUnpooling2D`.

    Input shape:
        - If `data_format="channels_last"`: `(batch_size, pooled_steps, features)`
        - If `data_format="channels_first"`: `(batch_size, features, pooled_steps)`

    Output shape:
        The same with `steps = (pooled_steps - 1) * strides + pool_size` in the place of `pooled_steps`.

    Example:
    >>> import numpy as np
    >>> restored = MaxUnpooling1D(2)(np.array([[[5.0], [4.0]]]), np.array([[[1], [1]]]))
    >>> np.asarray(restored).ravel().tolist()
    [0.0, 5.0, 0.0, 4.0]
    """

    rank = 1


@keras.saving.register_keras_serializable(package="unpool")
class MaxUnpooling2D(_MaxUnpooling):
    """Put each value of pooled pictures back where it was; all other cells are zero.

    In every sample and channel, with indices as `MaxPooling2DWithIndices` returns them, and with the taps `w(i)` of
    window `i`,

        output[w(i)[indices[i]]] = inputs[i],    for i in row-major order

    An index that is no tap of its window, or is a tap in the padding, is an error.  Programs that XLA compiles for
    TensorFlow (`jit_compile=True`) or for a GPU cannot raise, and drop such an index.  The dtype of the result is that
    of `inputs`.

    Args:
        pool_size: Integer or pair of integers, as in the pooling layer. `None` stands for no window, for indices of
            adaptive, global and fractional pooling. Such indices are positions anywhere in the plane, and `output_size`
            or `like` is required. Defaults to 2.
        strides: Integer or pair of integers, as in the pooling layer. Defaults to `pool_size`.
        padding: `"valid"`, `"same"`, `"same_lower"`, an integer, or one for each dimension, or pairs `(before, after)`,
            as in the pooling layer. Defaults to `"valid"`.
        output_size: Integer or pair of integers, the size of the pictures that were pooled. Defaults to the size that
            the windows cover. Pictures of several sizes pool to the same size, and `padding="same"` depends on the
            size. So pass the size, or `like`, unless `strides` divides every size. Positions in the plane depend on the
            number of columns; with `padding="same"` or `"same_lower"` and no size, a position outside its own window is
            an error.
        data_format: `"channels_last"` or `"channels_first"`. Defaults to `keras.config.image_data_format()`.
        duplicates: The rule for repeated indices, which overlapping windows may have: `"last"`, the last one in
            row-major order wins; `"sum"`, the values add up; `"error"`, an error is raised. The gradient follows the
            rule. Defaults to `"last"`.
        index_format: `"window"` or `"plane"`, as in the pooling layer. With `"plane"`, `output.flat[indices[i]] =
            inputs[i]`, and an index is an error if it is negative or past its plane. Use it for indices of PyTorch, and
            for those that `unpool.convert_indices` makes of TensorFlow's. Defaults to `"window"`, or to `"plane"` with
            `pool_size=None`.
        validate: `"windows"` also reports a position in the plane that is outside its own window, which a wrong size
            makes. `False` drops a bad index where a report costs time: in graphs of TensorFlow and on CUDA devices.
            Defaults to `True`.
        **kwargs: `name`, `dtype` and `trainable`, as in all layers.

    Call arguments:
        inputs: The values; or values and indices, as a pair `[values, indices]`.
        indices: Integers of the shape of `inputs`.
        output_size: As the argument above, for this call; or the full shape of the pictures that were pooled.
        like: A tensor with the size of the pictures that were pooled, such as the pooling's input, and any number of
            channels; for pictures whose size is unknown until the program runs.

    Input shape:
        - If `data_format="channels_last"`: `(batch_size, pooled_rows, pooled_cols, channels)`
        - If `data_format="channels_first"`: `(batch_size, channels, pooled_rows, pooled_cols)`

    Output shape:
        - If `data_format="channels_last"`: `(batch_size, rows, cols, channels)`
        - If `data_format="channels_first"`: `(batch_size, channels, rows, cols)`

        with `rows = (pooled_rows - 1) * strides + pool_size`, minus the rows of an integer `padding`, or
        `rows = pooled_rows * strides` for `padding="same"` and `"same_lower"`, unless a size is given.

    Raises:
        IndexError: If an index is bad, in an eager call; `InvalidArgumentError` in TensorFlow's graphs.
        TypeError: If `indices` are not integers, or a list of inputs is not a pair.
        ValueError: If shapes do not fit, or the size does not pool to that of the inputs.

    Example:
    >>> import keras, numpy as np
    >>> from unpool.keras import MaxPooling2DWithIndices
    >>> values, indices = MaxPooling2DWithIndices(2)(np.array([[[[1.0], [5.0]], [[3.0], [2.0]]]]))
    >>> np.asarray(MaxUnpooling2D(2)(values, indices))[0, ..., 0].tolist()
    [[0.0, 5.0], [0.0, 0.0]]

    A model for pictures of any size:

    >>> x = keras.Input((None, None, 3))
    >>> pooled, indices = MaxPooling2DWithIndices(2, padding="same")(x)
    >>> model = keras.Model(x, MaxUnpooling2D(2, padding="same")(pooled, indices, like=x))
    >>> model(np.ones((1, 5, 7, 3))).shape == (1, 5, 7, 3)
    True

    Indices of adaptive pooling have no window that a layer could name:

    >>> values, indices = np.array([[[[5.0], [7.0]]]]), np.array([[[[0], [3]]]])
    >>> np.asarray(MaxUnpooling2D(None, output_size=(1, 5))(values, indices))[0, ..., 0].tolist()
    [[5.0, 0.0, 0.0, 7.0, 0.0]]

    Source: Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks" (2014); `torch.nn.MaxUnpool2d`.
    """

    rank = 2


@keras.saving.register_keras_serializable(package="unpool")
class MaxUnpooling3D(_MaxUnpooling):
    """Put each value of pooled volumes back: `MaxUnpooling2D` with a depth.

    Args:
        pool_size, strides, padding, output_size, data_format, duplicates, index_format, validate: As in
            `MaxUnpooling2D`, integers or triples.

    Call arguments:
        inputs, indices, output_size, like: As in `MaxUnpooling2D`.

    Input shape:
        - If `data_format="channels_last"`: `(batch_size, pooled_depths, pooled_rows, pooled_cols, channels)`
        - If `data_format="channels_first"`: `(batch_size, channels, pooled_depths, pooled_rows, pooled_cols)`

    Output shape:
        The same with the sizes of the volumes that were pooled: `(pooled - 1) * strides + pool_size` along each
        dimension, unless they are given.

    Example:
    >>> import numpy as np
    >>> values, indices = np.full((1, 1, 1, 1, 1), 7.0), np.full((1, 1, 1, 1, 1), 6)
    >>> np.asarray(MaxUnpooling3D(2)(values, indices)).ravel().tolist()
    [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 7.0, 0.0]
    """

    rank = 3
