"""Records: arrays and numbers that compiled functions are given by one pointer, instead of as seven numbers an array.

A record lies in memory as a row of words of eight bytes: of an array its address and shape, of a number its value, of
another record its address. Compiled functions read ``record.field`` from there and write numbers by
``record.field = value``.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any, ClassVar, Self

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core.datamodel import models, register_default
from numba.core.typing.templates import AttributeTemplate
from numba.extending import NativeValue, infer_getattr, lower_getattr_generic, lower_setattr_generic, typeof_impl, unbox

Reals = Annotated[np.ndarray, np.float64, 1]
RealTable = Annotated[np.ndarray, np.float64, 2]
RealCube = Annotated[np.ndarray, np.float64, 3]
Integers = Annotated[np.ndarray, np.int64, 1]
IntegerTable = Annotated[np.ndarray, np.int64, 2]
Flags = Annotated[np.ndarray, np.bool_, 1]
FlagTable = Annotated[np.ndarray, np.bool_, 2]

FlagCube = Annotated[np.ndarray, np.bool_, 3]
Marks = Annotated[np.ndarray, np.int8, 1]
RealBlock = Annotated[np.ndarray, np.float64, 4]


class DataTable(np.ndarray):
    """Annotation of tables of data that entries read as float64 or as float32, all of them alike."""

    @staticmethod
    def of(dtype: type) -> Any:
        """Annotation of a table of one dtype."""
        return Annotated[np.ndarray, dtype, 2]


#: Numbers of each of the pixels side by side, a vector after another; in a record of one pixel, its numbers.
Vectors = Annotated[np.ndarray, np.float64, 0]

_WORD = ir.IntType(64)
_DOUBLE = ir.DoubleType()


class Record:
    """Base class; a subclass lists its fields as a dataclass does.

    Parameters
    ----------
    *values
        The fields, in their order. Arrays must be contiguous and of the field's dtype; the record keeps them alive.
    wide : bool
        Whether it is of pixels side by side, so that ``Vectors`` are vectors.

    Raises
    ------
    TypeError
        For an array of another dtype, another number of dimensions, or with gaps.
    """

    _fields: ClassVar[tuple[str, ...]] = ()
    _kinds: ClassVar[dict[str, Any]] = {}
    _places: ClassVar[dict[str, int]] = {}
    _words: ClassVar[int] = 0

    _always_wide: ClassVar[bool] = False

    def __init_subclass__(cls, wide: bool = False) -> None:
        cls._always_wide = wide
        known = vars(sys.modules[cls.__module__])
        # Not `typing.get_type_hints`, which would look for what the base class names in the subclass's module.
        kinds = {
            name: eval(kind, known) if isinstance(kind, str) else kind
            for name, kind in vars(cls).get("__annotations__", {}).items()
        }
        cls._kinds, cls._fields, cls._places = kinds, tuple(kinds), {}
        at = 0
        for name, kind in kinds.items():
            cls._places[name] = at
            at += 1 + kind.__metadata__[1] if _is_array(kind) else 1
            if kind in (float, int, bool):
                setattr(cls, name, _number(at - 1, kind))
        cls._words = at

    def __init__(self, *values: Any, wide: bool = False, **named: Any) -> None:
        values += tuple(named.pop(name) for name in self._fields[len(values) :] if name in named)
        if len(values) != len(self._fields) or named:
            raise TypeError(f"{type(self).__name__} has the fields {', '.join(self._fields)}")
        self.wide = wide or self._always_wide
        self.memory = np.zeros(max(self._words, 1), np.int64)
        self.pointer = self.memory.ctypes.data
        for name, value in zip(self._fields, values, strict=True):
            self._set(name, value)

    def _set(self, name: str, value: Any) -> None:
        kind, at = self._kinds[name], self._places[name]
        if not _is_array(kind):
            if isinstance(value, Record):
                self.memory[at] = value.pointer
            setattr(self, name, value)
            return
        dtype, dimensions = kind.__metadata__
        if value.dtype != dtype or value.ndim != max(dimensions, 1) or not value.flags.c_contiguous:
            raise TypeError(
                f"{type(self).__name__}.{name} must be a contiguous array of {np.dtype(dtype)} with "
                f"{max(dimensions, 1)} dimensions, not one of {value.dtype} with "
                f"{value.ndim}{'' if value.flags.c_contiguous else ' and gaps between the elements'}"
            )
        self.memory[at] = value.ctypes.data
        self.memory[at + 1 : at + 1 + dimensions] = value.shape[:dimensions]
        self.__dict__[name] = value

    def _replace(self, **values: Any) -> Self:
        """Return another record in which some fields are others; arrays are the same ones."""
        return type(self)(*[values.get(name, getattr(self, name)) for name in self._fields], wide=self.wide)


def _is_array(kind: Any) -> bool:
    return hasattr(kind, "__metadata__")


def _number(at: int, kind: type) -> property:
    """Property of a number that lies in the record's memory, where compiled functions may change it."""
    view = np.float64 if kind is float else np.int64

    def get(self: Record) -> Any:
        return kind(self.memory[at : at + 1].view(view)[0])

    def set_(self: Record, value: Any) -> None:
        self.memory[at : at + 1].view(view)[0] = value

    return property(get, set_)


class RecordType(types.Type):
    """Type of the records of one class."""

    def __init__(self, record: type[Record], wide: bool) -> None:
        self.record, self.wide = record, wide
        super().__init__(name=f"{record.__qualname__}{'(wide)' if wide else ''}")

    def kind(self, name: str) -> types.Type | None:
        """Type of a field."""
        kind = self.record._kinds.get(name)
        if kind is None:
            return None
        if not _is_array(kind):
            numbers = {float: types.float64, int: types.int64, bool: types.boolean}
            return numbers.get(kind) or RecordType(kind, self.wide or kind._always_wide)
        dtype, dimensions = kind.__metadata__
        if dimensions == 0 and self.wide:
            return LANE_ARRAY
        element = numba.from_dtype(np.dtype(dtype))
        return types.Array(element, max(dimensions, 1), "C")


class LaneArray(types.Type):
    """Type of vectors one after another: an address alone."""


LANE_ARRAY = LaneArray(name="xfit.vectors")


@register_default(LaneArray)
class _LaneArrayModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, _DOUBLE.as_pointer())


@register_default(RecordType)
class _RecordModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, _WORD.as_pointer())


@typeof_impl.register(Record)
def _typeof(value: Record, context: Any) -> RecordType:
    return RecordType(type(value), value.wide)


@unbox(RecordType)
def _unbox(typ: RecordType, value: Any, c: Any) -> NativeValue:
    address = c.pyapi.object_getattr_string(value, "pointer")
    pointer = c.builder.inttoptr(c.pyapi.long_as_ulonglong(address), _WORD.as_pointer())
    c.pyapi.decref(address)
    return NativeValue(pointer)


@infer_getattr
class _Attributes(AttributeTemplate):
    key = RecordType

    def generic_resolve(self, typ: RecordType, name: str) -> types.Type | None:
        return typ.kind(name)


def _word(builder: Any, record: Any, place: int, fixed: bool) -> Any:
    """Read a word; addresses and shapes never change, so that reading them once is enough."""
    word = builder.load(builder.gep(record, [_WORD(place)]))
    if fixed:
        word.set_metadata("invariant.load", builder.module.add_metadata([]))
    return word


@lower_getattr_generic(RecordType)
def _read(context: Any, builder: Any, typ: RecordType, record: Any, name: str) -> Any:
    kind, place = typ.kind(name), typ.record._places[name]
    if kind == types.float64:
        return builder.bitcast(_word(builder, record, place, False), _DOUBLE)
    if kind == types.boolean:
        return builder.icmp_signed("!=", _word(builder, record, place, False), _WORD(0))
    if kind == types.int64:
        return _word(builder, record, place, False)
    word = _word(builder, record, place, True)
    if isinstance(kind, RecordType):
        return builder.inttoptr(word, _WORD.as_pointer())
    if kind == LANE_ARRAY:
        return builder.inttoptr(word, _DOUBLE.as_pointer())
    return _array(context, builder, typ, record, name, word)


def _array(context: Any, builder: Any, typ: RecordType, record: Any, name: str, word: Any) -> Any:
    """Put together what numba has of an array."""
    kind: Any = typ.kind(name)
    place = typ.record._places[name]
    array = context.make_array(kind)(context, builder)
    item = context.get_abi_sizeof(context.get_data_type(kind.dtype))
    # Of vectors the length is not kept: they are never asked for it.
    known = typ.record._kinds[name].__metadata__[1] != 0
    shape = [_word(builder, record, place + 1 + d, True) for d in range(kind.ndim)] if known else [_WORD(2**40)]
    strides = [_WORD(item)]
    for length in shape[:0:-1]:
        strides.insert(0, builder.mul(strides[0], length))
    context.populate_array(
        array,
        data=builder.inttoptr(word, context.get_data_type(kind.dtype).as_pointer()),
        shape=shape,
        strides=strides,
        itemsize=_WORD(item),
        meminfo=None,
    )
    return array._getvalue()


@lower_setattr_generic(RecordType)
def _write(context: Any, builder: Any, sig: Any, args: Any, name: str) -> None:
    typ = sig.args[0]
    place = builder.gep(args[0], [_WORD(typ.record._places[name])])
    value = context.cast(builder, args[1], sig.args[1], typ.kind(name))
    if typ.kind(name) == types.float64:
        value = builder.bitcast(value, _WORD)
    elif typ.kind(name) == types.boolean:
        value = builder.zext(value, _WORD)
    builder.store(value, place)
