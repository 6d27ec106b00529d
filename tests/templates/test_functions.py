"""Functions of the template language, mostly the examples of Azure's own reference."""

# ruff: noqa: E501 - one case a line, however long

from __future__ import annotations

import re
from typing import Any

import pytest

from sorairo.templates.errors import ExpressionError, Needed
from sorairo.templates.evaluate import resolve
from sorairo.templates.functions.hashes import hash64, unique_string
from templates.language import GROUP, SUB, SUBSCRIPTION, frame, value

NET = "Microsoft.Network"
OTHER = "0b1f6471-1bf0-4dda-aec3-222222222222"

CASES: list[tuple[str, Any]] = [
    # strings
    ("concat('a', 1, true())", "a1True"),
    ("concat(createArray('a'), createArray(1, 'b'))", ["a", 1, "b"]),
    ("format('{0}, {1}. Formatted number: {2:N0}', 'Hello', 'User', 8175133)", "Hello, User. Formatted number: 8,175,133"),
    ("format('{0:D4}|{1,5}|{1,-5}|{{x}}|{2:X2}|{3:F1}', 42, 'ab', 255, 3)", "0042|   ab|ab   |{x}|FF|3.0"),
    ("format('{0}', createObject('a', createArray(1)))", '{"a":[1]}'),
    ("string(createObject('valueA', 10, 'valueB', 'Example Text'))", '{"valueA":10,"valueB":"Example Text"}'),
    ("string(true())", "True"),
    ("toLower('One')", "one"),
    ("toUpper('One')", "ONE"),
    ("trim('    one two three   ')", "one two three"),
    ("replace('123-123-1234', '-', '')", "1231231234"),
    ("split('one;two,three', createArray(',', ';'))", ["one", "two", "three"]),
    ("split('one,two', ',')", ["one", "two"]),
    ("join(createArray('a', 'b', 1), '-')", "a-b-1"),
    ("substring('one two three', 4, 3)", "two"),
    ("substring('one', 1)", "ne"),
    ("padLeft('123', 10, '0')", "0000000123"),
    ("padLeft(7, 3)", "  7"),
    ("indexOf('abcdef', 'CD')", 2),
    ("indexOf(createArray('one', 'two'), 'two')", 1),
    ("indexOf('a', 'z')", -1),
    ("lastIndexOf('test', 'T')", 3),
    ("startsWith('abcdef', 'AB')", True),
    ("endsWith('abcdef', 'EF')", True),
    ("contains('OneTwoThree', 'two')", False),
    ("contains('OneTwoThree', 'Two')", True),
    ("uri('http://contoso.com/resources/', 'nested/azuredeploy.json')", "http://contoso.com/resources/nested/azuredeploy.json"),
    ("uriComponent('http://a.com/b c')", "http%3A%2F%2Fa.com%2Fb%20c"),
    ("uriComponentToString('http%3A%2F%2Fa.com')", "http://a.com"),
    ("first('One Two Three')", "O"),
    ("last('One Two Three')", "e"),
    ("take('one two three', 2)", "on"),
    ("skip('one two three', 4)", "two three"),
    ("length('one two three')", 13),
    ("empty('')", True),
    ("'it''s'", "it's"),
    # numbers
    ("add(5, 3)", 8),
    ("sub(7, 3)", 4),
    ("mul(5, 3)", 15),
    ("div(8, 3)", 2),
    ("div(-8, 3)", -2),
    ("mod(7, 3)", 1),
    ("mod(-7, 3)", -1),
    ("min(createArray(0, 3, 2, 5, 4))", 0),
    ("max(0, 3, 2, 5, 4)", 5),
    ("int('4')", 4),
    ("int('-4')", -4),
    ("range(5, 3)", [5, 6, 7]),
    ("float('3.5')", 3.5),
    # logic and comparison
    ("if(equals('a', 'a'), 'yes', parameters('none'))", "yes"),
    ("and(false(), parameters('none'))", False),
    ("or(true(), parameters('none'))", True),
    ("not(false())", True),
    ("bool('TRUE')", True),
    ("bool(0)", False),
    ("coalesce(null(), 'first', parameters('none'))", "first"),
    ("equals('a', 'A')", False),
    ("equals(1, '1')", False),
    ("equals(createObject('a', 1, 'b', 2), createObject('b', 2, 'a', 1))", True),
    ("less(1, 2)", True),
    ("greaterOrEquals('b', 'a')", True),
    ("lessOrEquals(2, 1)", False),
    ("greater(2, 1)", True),
    # arrays and objects
    ("array('efgh')", ["efgh"]),
    ("createObject('k', 1).K", 1),
    ("createArray('a', 'b')[1]", "b"),
    ("contains(createArray('one', 'two'), 'two')", True),
    ("contains(createObject('One', 1), 'one')", True),
    ("empty(createObject())", True),
    ("first(createArray())", None),
    ("first(createArray('one', 'two'))", "one"),
    ("last(createArray('one', 'two'))", "two"),
    ("take(createArray(1, 2, 3), 2)", [1, 2]),
    ("skip(createArray(1, 2, 3), 2)", [3]),
    ("union(createArray('one', 'two'), createArray('two', 'four'))", ["one", "two", "four"]),
    ("union(createObject('a', createObject('x', 1)), createObject('A', createObject('y', 2)))", {"a": {"x": 1, "y": 2}}),
    ("shallowMerge(createArray(createObject('a', createObject('x', 1)), createObject('a', createObject('y', 2))))", {"a": {"y": 2}}),
    ("intersection(createArray('one', 'two'), createArray('two'))", ["two"]),
    ("intersection(createObject('a', 1, 'b', 2), createObject('a', 1, 'b', 3))", {"a": 1}),
    ("flatten(createArray(createArray(1, 2), createArray(3)))", [1, 2, 3]),
    ("items(createObject('b', 2, 'A', 1))", [{"key": "A", "value": 1}, {"key": "b", "value": 2}]),
    ("objectKeys(createObject('b', 2, 'a', 1))", ["a", "b"]),
    ("tryGet(createObject('a', createObject('b', 1)), 'a', 'b')", 1),
    ("tryGet(createObject('a', 1), 'x')", None),
    ("tryGet(createArray(1), 5)", None),
    ("indexFromEnd(createArray(1, 2, 3), 1)", 3),
    ("tryIndexFromEnd(createArray(1), 4)", None),
    # lambdas
    ("map(createArray(1, 2), lambda('n', mul(lambdaVariables('n'), 2)))", [2, 4]),
    ("map(createArray('a'), lambda('v', 'i', format('{0}{1}', lambdaVariables('v'), lambdaVariables('i'))))", ["a0"]),
    ("filter(range(0, 5), lambda('n', greater(lambdaVariables('n'), 2)))", [3, 4]),
    ("reduce(range(1, 4), 0, lambda('a', 'b', add(lambdaVariables('a'), lambdaVariables('b'))))", 10),
    ("sort(createArray(3, 1, 2), lambda('a', 'b', less(lambdaVariables('a'), lambdaVariables('b'))))", [1, 2, 3]),
    ("groupBy(createArray('foo', 'bar', 'baz'), lambda('x', substring(lambdaVariables('x'), 0, 1)))", {"f": ["foo"], "b": ["bar", "baz"]}),
    ("toObject(createArray('a', 'b'), lambda('x', lambdaVariables('x')), lambda('x', toUpper(lambdaVariables('x'))))", {"a": "A", "b": "B"}),
    ("mapValues(createObject('a', 1), lambda('x', add(lambdaVariables('x'), 1)))", {"a": 2}),
    # encodings
    ("base64('one, two, three')", "b25lLCB0d28sIHRocmVl"),
    ("base64ToString('b25lLCB0d28sIHRocmVl')", "one, two, three"),
    ("base64ToJson(base64('{\"a\": 1}')).a", 1),
    ("json('{\"a\": [1, null]}')", {"a": [1, None]}),
    ("json('null')", None),
    ("dataUri('Hello')", "data:text/plain;charset=utf8;base64,SGVsbG8="),
    ("dataUriToString('data:;base64,SGVsbG8sIFdvcmxkIQ==')", "Hello, World!"),
    # dates
    ("dateTimeAdd('2020-04-07 14:53:14Z', 'P3Y')", "2023-04-07T14:53:14Z"),
    ("dateTimeAdd('2020-04-07 14:53:14Z', '-P9D')", "2020-03-29T14:53:14Z"),
    ("dateTimeAdd('2020-04-07 14:53:14Z', 'PT1H', 'yyyy-MM-dd h:mm tt')", "2020-04-07 3:53 PM"),
    ("dateTimeFromEpoch(1683040573)", "2023-05-02T15:16:13Z"),
    ("dateTimeToEpoch('2023-05-02T15:16:13Z')", 1683040573),
    # networks
    ("cidrSubnet('10.144.0.0/20', 24, 3)", "10.144.3.0/24"),
    ("cidrHost('10.144.3.0/24', 0)", "10.144.3.1"),
    ("parseCidr('10.144.0.0/20')", {"network": "10.144.0.0", "netmask": "255.255.240.0", "broadcast": "10.144.15.255",
                                   "firstUsable": "10.144.0.1", "lastUsable": "10.144.15.254", "cidr": 20}),
    ("parseUri('https://a.com:8080/b?c=d').port", 8080),
    ("buildUri(createObject('scheme', 'https', 'host', 'a.com', 'path', '/b', 'query', '?c=d'))", "https://a.com/b?c=d"),
    # ids
    (f"resourceId('{NET}/virtualNetworks', 'v')", f"{GROUP}/providers/{NET}/virtualNetworks/v"),
    (f"resourceId('{NET}/virtualNetworks/subnets', 'v', 's')", f"{GROUP}/providers/{NET}/virtualNetworks/v/subnets/s"),
    (f"resourceId('other', '{NET}/virtualNetworks', 'v')", f"{SUB}/resourceGroups/other/providers/{NET}/virtualNetworks/v"),
    (f"resourceId('{OTHER}', 'g', 'A.B/c', 'd')", f"/subscriptions/{OTHER}/resourceGroups/g/providers/A.B/c/d"),
    ("subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'r')", f"{SUB}/providers/Microsoft.Authorization/roleDefinitions/r"),
    ("tenantResourceId('Microsoft.Authorization/policyDefinitions', 'p')", "/providers/Microsoft.Authorization/policyDefinitions/p"),
    ("extensionResourceId(resourceId('A.B/c', 'd'), 'Microsoft.Authorization/locks', 'l')", f"{GROUP}/providers/A.B/c/d/providers/Microsoft.Authorization/locks/l"),
    ("pickZones('Microsoft.Compute', 'virtualMachines', 'westeurope', 2)", ["1", "2"]),
    # where
    ("resourceGroup().location", "westeurope"),
    ("resourceGroup().tags.env", "dev"),
    ("subscription().subscriptionId", SUBSCRIPTION),
    ("deployment().name", "main"),
    ("environment().suffixes.storage", "core.sorairo.internal"),
    ("tenant().tenantId", "t"),
    ("deployer().objectId", "o"),
    # the same as on Azure: values from https://stackoverflow.com/q/43295720 and Azure.Deployments.Expression
    ("uniqueString('tyeth')", "zcztcwvu6iyg6"),
    ("uniqueString('hello', 'world')", "a7wkljktk6wne"),
    ("guid('a', 'b')", "2d796349-8c7e-55ec-9624-54ece82ed031"),
]  # fmt: skip


@pytest.mark.parametrize(("expression", "expected"), CASES, ids=[c[0][:60] for c in CASES])
def test_a_function_gives_what_azures_gives(expression: str, expected: Any) -> None:
    assert value(expression) == expected
    assert type(value(expression)) is type(expected)


@pytest.mark.parametrize(
    ("expression", "part"),
    [
        ("nothing('a')", "The template function 'nothing' is not valid"),
        ("toLower()", "function requires 1 argument(s) while 0 were provided"),
        ("toLower(1)", "to be of type 'String'. The provided value is of type 'Integer'"),
        ("createObject('a', 1).b", "property 'b' doesn't exist, available properties are 'a'"),
        ("createArray(1)[3]", "index '3' is out of bounds"),
        ("null().a", "can't be selected on a value of type 'Null'"),
        ("substring('abc', 2, 5)", "parameters out of range"),
        ("div(1, 0)", "divide by zero"),
        ("int('x')", "integer"),
        ("parameters('none')", "template parameter 'none' is not found"),
        ("variables('none')", "template variable 'none' is not found"),
        ("copyIndex()", "'copyIndex' is not expected at this location"),
        ("newGuid()", "default value of a parameter only"),
        ("utcNow()", "default value of a parameter only"),
        ("resourceId('A.B/c/d', 'x')", "requires '2' resource name argument(s)"),
        ("reference('nowhere')", "neither"),
        ("format('{1}', 'a')", "no argument for '{1}'"),
        ("format('{', 'a')", "brace"),
        ("add(9223372036854775807, 1)", "64 bits"),
        ("cidrSubnet('10.0.0.0/24', 25, 2)", "no subnet 2"),
        ("json('{')", "JSON"),
        ("if(1, 2, 3)", "Boolean"),
        ("less('a', 1)", "compares"),
        ("fail('no way')", "no way"),
        ("contoso.name('x')", "not among the template's 'functions'"),
    ],
)
def test_what_has_no_value_says_why(expression: str, part: str) -> None:
    with pytest.raises(ExpressionError, match=re.escape(part)):
        value(expression)


def test_the_hash_is_of_two_lanes_with_any_rest() -> None:
    """`571013382255652050` is what Azure's own library gives; the rest holds every length of tail apart."""
    assert hash64(b"hello-world") == 571013382255652050
    names = {unique_string("x" * n) for n in range(40)}
    assert len(names) == 40
    assert all(re.fullmatch(r"[a-z2-7]{13}", n) for n in names)


def test_variables_are_evaluated_when_asked_for_and_once() -> None:
    sections = {
        "variables": {
            "a": "[concat(variables('B'), '!')]",
            "b": "x",
            "loop1": "[variables('loop2')]",
            "loop2": "[variables('loop1')]",
            "bad": "[fail('never asked')]",
            "copy": [{"name": "disks", "count": 2, "input": {"name": "[concat('d', copyIndex('disks', 1))]"}}],
            "nested": {"copy": [{"name": "ports", "count": 2, "input": "[add(80, copyIndex('ports'))]"}], "k": 1},
        }
    }
    assert value("variables('a')", **sections) == "x!"
    assert value("variables('disks')", **sections) == [{"name": "d1"}, {"name": "d2"}]
    assert value("variables('nested')", **sections) == {"k": 1, "ports": [80, 81]}
    with pytest.raises(ExpressionError, match="Circular reference among the template variables: 'loop1, loop2'"):
        value("variables('loop1')", **sections)


def test_a_templates_own_functions() -> None:
    sections = {
        "functions": [
            {
                "namespace": "contoso",
                "members": {
                    "uniqueName": {
                        "parameters": [{"name": "namePrefix", "type": "string"}],
                        "output": {"type": "string", "value": "[concat(toLower(parameters('namePrefix')), '-u')]"},
                    }
                },
            }
        ]
    }
    assert value("contoso.uniqueName('App')", **sections) == "app-u"
    with pytest.raises(ExpressionError, match="expects 1 arguments"):
        value("contoso.uniqueName()", **sections)


def test_documents_are_resolved_with_their_keys_and_loops_and_literals() -> None:
    document = {
        "[concat('a', 'b')]": "[[not an expression]",
        "half": "[open",
        "number": 1.5,
        "copy": [{"name": "list", "count": 2, "input": "[copyIndex('list')]"}],
        "none": {"copy": "just a word"},
    }
    assert resolve(document, frame()) == {
        "ab": "[not an expression]",
        "half": "[open",
        "number": 1.5,
        "list": [0, 1],
        "none": {"copy": "just a word"},
    }


def test_what_only_resources_know_is_asked_for() -> None:
    with pytest.raises(Needed) as asked:
        value("reference(resourceId('A.B/c', 'd'), '2020-01-01').x")
    assert (asked.value.kind, asked.value.id) == ("reference", f"{GROUP}/providers/A.B/c/d")
    with pytest.raises(Needed) as asked:
        value("listKeys(resourceId('A.B/c', 'd'), '2020-01-01', createObject('expand', 'kerb')).keys[0].value")
    assert (asked.value.action, asked.value.body) == ("listKeys", {"expand": "kerb"})
    it = frame()
    it.answers.put(asked.value, {"keys": [{"value": "k1"}]})
    expression = "[listKeys(resourceId('A.B/c', 'd'), '2020-01-01', createObject('expand', 'kerb')).keys[0].value]"
    assert resolve(expression, it) == "k1"
