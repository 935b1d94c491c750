"""Contractions of ragged groups, as programs of contractions (docs/numerics/contraction.md, C9 to C11).

A group is a range of one dimension whose ends are data. It is computed in a window that holds it, the least of a few
whose sizes are known while tracing. None is more than twice as long as its group but for the shortest, so all groups
together cost about two to three products without groups, however many they are.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from kernels.runtime.errors import KernelError

Dot = Callable[[Array, Array, Any], Array]

SHORTEST: Final = 8
"""Rows of the shortest window: fewer take about as long."""


def ragged_dot_general(
    lhs: Array,
    rhs: Array,
    sizes: Array,
    *,
    ragged_dot_dimension_numbers: Any,
    precision: Any,
    preferred_element_type: Any,
    group_offset: Any,
    **_: Any,
) -> Array:
    """Shapes as `jax.lax.ragged_dot_general` has them.

    Raises:
        KernelError: a group offset is asked for.
    """
    if group_offset is not None:
        raise KernelError("portable numerics have no ragged_dot_general with a group offset")
    numbers = ragged_dot_dimension_numbers
    (left, right), (left_batch, right_batch) = numbers.dot_dimension_numbers
    (ragged,) = numbers.lhs_ragged_dimensions
    dot: Dot = functools.partial(lax.dot_general, precision=precision, preferred_element_type=preferred_element_type)
    if ragged in left_batch:
        return dot(lhs, rhs, numbers.dot_dimension_numbers)
    left_free = _others(lhs, left, left_batch)
    right_free = _others(rhs, right, right_batch, numbers.rhs_group_dimensions)
    shape = _shape(lhs, left_batch) + _shape(lhs, left_free) + _shape(rhs, right_free)
    if ragged in left:
        at = list(left).index(ragged)
        x = _ordered(lhs, left_batch, left[:at], [ragged], left[at + 1 :], left_free)
        y = _ordered(rhs, right_batch, right[:at], [right[at]], right[at + 1 :], right_free)
        shape, over = (sizes.shape[-1], *shape), _contracted
    else:
        at = left_free.index(ragged)
        x = _ordered(lhs, left_batch, left_free[:at], [ragged], left_free[at + 1 :], left)
        y = _ordered(rhs, right_batch, numbers.rhs_group_dimensions, right, right_free)
        over = _rows
    if 0 in (*x.shape, *y.shape, *shape):
        kind = jax.eval_shape(lambda: dot(jnp.zeros((), lhs.dtype), jnp.zeros((), rhs.dtype), (((), ()), ((), ()))))
        return jnp.zeros(shape, kind.dtype)
    ends = _ends(sizes, x.shape[2])
    ends = jnp.reshape(ends, (*((1, 1) if sizes.ndim == 1 else x.shape[:2]), sizes.shape[-1]))
    found = _each(functools.partial(over, dot), x, y, jnp.broadcast_to(ends, (x.shape[0], *ends.shape[1:])))
    return jnp.reshape(jnp.moveaxis(found, 1, 0) if ragged in left else found, shape)


def _others(x: Array, *used: Sequence[int]) -> list[int]:
    return [axis for axis in range(x.ndim) if not any(axis in some for some in used)]


def _shape(x: Array, axes: Sequence[int]) -> tuple[int, ...]:
    return tuple(x.shape[axis] for axis in axes)


def _ordered(x: Array, *axes: Sequence[int]) -> Array:
    """With one axis for each of these lists, in their order."""
    turned = lax.transpose(x, [axis for some in axes for axis in some])
    return jnp.reshape(turned, [math.prod(_shape(x, some)) for some in axes])


def _ends(sizes: Array, most: int) -> Array:
    """Where groups end: sums of the sizes, none below zero, that stop at `most`."""
    whole = jnp.clip(sizes, 0, min(most, int(jnp.iinfo(sizes.dtype).max))).astype(np.uint32)
    ends: Array = lax.associative_scan(lambda a, b: jnp.minimum(a + b, np.uint32(most)), whole, axis=sizes.ndim - 1)
    return ends.astype(np.int32)


def _begins(ends: Array) -> Array:
    return jnp.concatenate([jnp.zeros_like(ends[..., :1]), ends[..., :-1]], -1)


def _each(over: Callable[..., Array], *arrays: Array) -> Array:
    """For each place of the first axis, one after the other."""
    if len(arrays[0]) == 1:
        return over(*(one[0] for one in arrays))[None]
    found: Array = lax.map(lambda each: over(*each), arrays)
    return found


def _windows(most: int, groups: int) -> list[int]:
    """Sizes, ascending; the last one holds any group."""
    sizes = [min(most, max(SHORTEST, -(-most // groups)))]
    while sizes[-1] < most:
        sizes.append(min(most, 2 * sizes[-1]))
    return sizes


def _least(sizes: Sequence[int], begin: Array, end: Array) -> Array:
    """Which window is the least that holds a group; their number, if it is empty."""
    holds = jnp.sum((np.array(sizes, np.int32) < end - begin).astype(np.int32), dtype=np.int32)
    return jnp.where(begin < end, holds, np.int32(len(sizes)))


def _placed(begin: Array, size: int, most: int) -> tuple[Array, Array]:
    """Where a window begins, which must not reach beyond the last place, and the places that it holds."""
    first = jnp.minimum(begin, np.int32(most - size))
    return first, first + np.arange(size, dtype=np.int32)


def _rows(dot: Dot, x: Array, y: Array, ends: Array) -> Array:
    """(p, m, q, k) by (g, k, n), each of the m by the matrix of its group, to (p, m, q, n); ends are (1 or p, g)."""
    p, m, q, _ = x.shape
    if len(ends) != 1:
        return _each(lambda own, limits: _rows(dot, own[None], y, limits[None])[0], x, ends)
    if p != 1:  # one after the other with what comes after the ragged dimension
        together = jnp.reshape(jnp.moveaxis(x, 0, 1), (1, m, p * q, x.shape[3]))
        return jnp.moveaxis(jnp.reshape(_rows(dot, together, y, ends), (m, p, q, y.shape[2])), 1, 0)
    sizes = _windows(m, len(y))

    def within(size: int) -> Callable[..., Array]:
        def computed(made: Array, group: Array, begin: Array, end: Array) -> Array:
            first, places = _placed(begin, size, m)
            matrix = lax.dynamic_index_in_dim(y, group, keepdims=False)  # here, so that an empty group's is not read
            product = dot(lax.dynamic_slice_in_dim(x[0], first, size), matrix, (((2,), (0,)), ((), ())))
            inside = ((places >= begin) & (places < end))[:, None, None]
            old = lax.dynamic_slice_in_dim(made, first, size)
            return lax.dynamic_update_slice_in_dim(made, jnp.where(inside, product, old), first, 0)

        return computed

    branches = [*map(within, sizes), lambda made, *_: made]

    def step(made: Array, group: tuple[Array, Array, Array]) -> tuple[Array, None]:
        return lax.switch(_least(sizes, *group[1:]), branches, made, *group), None

    of_one = jax.eval_shape(lambda: dot(x[0], y[0], (((2,), (0,)), ((), ()))))
    groups = np.arange(len(y), dtype=np.int32), _begins(ends)[0], ends[0]
    made, _ = lax.scan(step, jnp.zeros(of_one.shape, of_one.dtype), groups)
    return made[None]


def _contracted(dot: Dot, x: Array, y: Array, ends: Array) -> Array:
    """(c, m, a, f) and (c, m, a, h), contracted for each group over its places of m, to (g, f, h)."""
    m = x.shape[1]
    sizes = _windows(m, ends.shape[1]) if len(ends) == 1 else [m]

    def within(size: int) -> Callable[..., Array]:
        def computed(begin: Array, end: Array) -> Array:
            inside = (np.arange(size, dtype=np.int32) < (end - begin)[:, None])[:, :, None, None]
            left, right = (_from(begin, one, size) for one in (x, y))
            # A step of the chain with these two zeros is none: their product is -0, which moves nothing (C11).
            left, right = jnp.where(inside, left, _minus_zero(x)), jnp.where(inside, right, jnp.zeros_like(right))
            return dot(left, right, (((1, 0, 2), (1, 0, 2)), ((), ())))

        return computed

    of_one = jax.eval_shape(within(m), ends[:, 0], ends[:, 0])
    branches = [*map(within, sizes), lambda *_: jnp.zeros(of_one.shape, of_one.dtype)]

    def step(limits: tuple[Array, Array]) -> Array:
        at = _least(sizes, limits[0][0], limits[1][0]) if len(ends) == 1 else np.int32(0)
        return lax.switch(at, branches, *limits)

    found: Array = lax.map(step, (_begins(ends).T, ends.T))
    return found


def _from(begin: Array, x: Array, size: int) -> Array:
    """So many places of (c, m, a, f) from `begin`, which is (1,) or (c,), and any others behind the last one."""
    if len(begin) != 1:
        turned: Array = jax.vmap(lambda one, by: jnp.roll(one, -by, 0))(x, begin)
        return turned
    first = jnp.minimum(begin[0], np.int32(x.shape[1] - size))
    return jnp.roll(lax.dynamic_slice_in_dim(x, first, size, 1), first - begin[0], 1)


def _minus_zero(x: Array) -> Array:
    zero = complex(-0.0, -0.0) if jnp.iscomplexobj(x) else -0.0
    return jnp.asarray(np.array(zero).astype(x.dtype))
