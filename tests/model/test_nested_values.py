"""The walk through nested values: what is found, what is replaced, and what stays the very same object."""

from collections import UserDict
from typing import Any, NamedTuple

from pynb_dag_runner.model.nested_values import instances_in, rebuilt, replaced


class Mark:
    """What is looked for."""


class Point(NamedTuple):
    x: Any
    y: Any


def with_seven(value: Any) -> Any:
    return replaced(value, Mark, lambda _mark: 7)


def deep(inner: Any, levels: int = 100_000) -> list[Any]:
    value = [inner]
    for _ in range(levels):
        value = [value]
    return value


def test_instances_come_in_order_of_appearance_from_keys_too() -> None:
    a, b, c, d = Mark(), Mark(), Mark(), Mark()
    assert list(instances_in([{a: (1, b)}, UserDict({"x": c}), frozenset([d])], Mark)) == [a, b, c, d]


def test_a_container_inside_itself_is_walked_once() -> None:
    mark = Mark()
    value: list[Any] = [mark]
    value += [value, {"again": value}]
    assert list(instances_in(value, Mark)) == [mark]


def test_nesting_of_any_depth_is_searched() -> None:
    assert len(list(instances_in(deep(Mark()), Mark))) == 1
    value = deep(1)
    assert with_seven(value) is value


def test_replacing_keeps_the_shape_of_values() -> None:
    mark = Mark()
    value = {"list": [mark, 1], "tuple": (mark,), "point": Point(mark, 2), "set": {mark}, mark: UserDict(x=mark)}
    assert with_seven(value) == {"list": [7, 1], "tuple": (7,), "point": Point(7, 2), "set": {7}, 7: {"x": 7}}
    assert with_seven(mark) == 7


def test_what_holds_nothing_to_replace_is_the_same_object() -> None:
    without: list[Any] = [UserDict(x=1), Point(1, 2)]
    without.append(without)
    replaced_value = with_seven([without, Mark()])
    assert (replaced_value[0] is without, replaced_value[1]) == (True, 7)


def test_a_replaced_value_contains_itself_where_the_original_does() -> None:
    value: list[Any] = [Mark()]
    value.append(({"again": value},))
    made = with_seven(value)
    assert (made[0], made[1][0]["again"] is made, made is value) == (7, True, False)


def test_a_value_is_replaced_once_for_all_places_of_its_container() -> None:
    shared = [Mark()]
    made = with_seven([shared, shared])
    assert made[0] is made[1]


def test_a_rebuilt_container_is_a_new_one() -> None:
    value: dict[str, Any] = {"a": 1}
    value["self"] = value
    made: dict[int, Any] = {}
    new = rebuilt(value, lambda item: made.get(id(item), item), made)
    assert (new is value, new["a"], new["self"] is new) == (False, 1, True)
