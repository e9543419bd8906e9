"""A small evaluator for the Structured Text of drivers/plc: blark's syntax tree becomes Python, statement by statement.

It is stricter than any controller, so that what runs here runs alike everywhere: operands of one type only, no value
out of its type's range in the middle of an expression, no index out of bounds, both sides of AND and OR evaluated,
inputs never written. A UDINT wraps at 2**32 only where a sum or difference is assigned to a variable.

blark is GPL-2: a dependency of the tests alone, nothing of it ships.
"""

import keyword
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from blark import transform as ast

LIMITS = {"BOOL": 1, "UINT": 0xFFFF, "WORD": 0xFFFF, "UDINT": 0xFFFFFFFF}
LITERAL = "literal"
SYMBOLS = {"=": "==", "<>": "!=", "AND": "&", "OR": "|", "XOR": "^", "MOD": "%", "/": "//"}
CONVERSIONS = {f"{a}_TO_{b}": (a, b) for a in ("UINT", "UDINT", "WORD") for b in ("UINT", "UDINT", "WORD")}


class StError(Exception):
    """Not plain portable Structured Text, or a value left its type; the text says what and where."""


@dataclass(frozen=True)
class Array:
    low: int
    high: int
    item: "Type"


Type = str | Array
Code = tuple[str, Type]


@dataclass
class Variable:
    """`role`: input, output, in_out, local, retain."""

    name: str
    type: Type
    role: str
    initial: Any = None


@dataclass
class Unit:
    """A function, function block, program or structure."""

    name: str
    kind: str
    variables: dict[str, Variable]
    result: str = ""
    body: Any = None


class Memory:
    """Instance of a structure or function block; attributes are its variables, in lower case."""

    _unit: Unit
    _fresh: dict[str, Callable[[], Any]]

    def __init__(self) -> None:
        for name, make in self._fresh.items():
            setattr(self, name, make())

    def copy(self) -> "Memory":
        new = object.__new__(type(self))
        new.__dict__ = {name: clone(value) for name, value in self.__dict__.items()}
        return new

    def restart(self) -> None:
        """Warm start of a controller: what is not RETAIN gets its initial value, in blocks likewise."""
        for name, make in self._fresh.items():
            value = getattr(self, name)
            blocks = value if isinstance(value, list) else [value]
            if isinstance(blocks[0], Memory) and blocks[0]._unit.kind == "block":
                for block in blocks:
                    block.restart()
            elif self._unit.variables[name].role != "retain":
                setattr(self, name, make())


def plain(name: Any) -> str:
    """Return an identifier as Python may have it; Structured Text does not tell cases apart."""
    lower = str(name).lower()
    return f"{lower}_" if keyword.iskeyword(lower) else lower


def clone(value: Any) -> Any:
    if isinstance(value, Memory):
        return value.copy()
    return [clone(item) for item in value] if isinstance(value, list) else value


def fit(value: int, limit: int) -> int:
    if not 0 <= value <= limit:
        raise StError(f"{value} leaves 0..{limit} in the middle of an expression")
    return value


def index(value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        raise StError(f"index {value} out of {low}..{high}")
    return value - low


class Library:
    """All sources together. `block(name)` makes an instance, `function(name)` returns a Python callable."""

    def __init__(self, sources: Iterable[ast.SourceCode]) -> None:
        self.constants: dict[str, tuple[str, int]] = {}
        self.units: dict[str, Unit] = {}
        for source in sources:
            for item in source.items:
                self._collect(item)
        self._python: dict[str, Any] = {"_fit": fit, "_index": index, "_clone": clone}
        for unit in self.units.values():
            self._compile(unit)

    def block(self, name: str) -> Any:
        return self._python[plain(name)]()

    def function(self, name: str) -> Any:
        return self._python[plain(name)]

    def _collect(self, item: Any) -> None:
        match item:
            case ast.GlobalVariableDeclarations():
                for declaration in item.items:
                    name, kind = plain(declaration.spec.variables[0]), str(declaration.init.spec.type)
                    self._new(name)
                    self.constants[name] = (kind, self.number(declaration.init.value))
            case ast.DataTypeDeclaration():
                elements = item.declaration.declarations
                self._add(Unit(str(item.declaration.name), "structure", self._named(elements, "local")))
            case ast.Function():
                unit = Unit(
                    str(item.name), "function", self._declared(item), str(item.return_type.type.type), item.body
                )
                unit.variables[plain(unit.name)] = Variable(unit.name, unit.result, "output")
                self._add(unit)
            case ast.FunctionBlock() | ast.Program():
                self._add(Unit(str(item.name), "block", self._declared(item), "", item.body))
            case _:
                raise StError(f"{type(item).__name__} is not used here")

    def _new(self, name: str) -> None:
        if name in self.constants or name in self.units:
            raise StError(f"{name} is declared twice (names do not depend on case)")

    def _add(self, unit: Unit) -> None:
        self._new(plain(unit.name))
        self.units[plain(unit.name)] = unit

    def _declared(self, item: Any) -> dict[str, Variable]:
        roles = {"VAR_INPUT": "input", "VAR_OUTPUT": "output", "VAR_IN_OUT": "in_out", "VAR": "local"}
        found: dict[str, Variable] = {}
        for block in item.declarations:
            role = roles[block.block_header]
            attributes = getattr(block, "attrs", None)
            if attributes:
                role = {"retain": "retain"}[attributes.name]
            found |= self._named(block.items, role)
        return found

    def _named(self, declarations: Iterable[Any], role: str) -> dict[str, Variable]:
        found: dict[str, Variable] = {}
        for declaration in declarations:
            kind, value = self._type(declaration.init.spec), declaration.init.value
            for variable in declaration.variables:
                name = str(variable.variable.name)
                if plain(name) in found:
                    raise StError(f"{name} is declared twice")
                initial = None if value is None else self.number(value)
                found[plain(name)] = Variable(name, kind, role, initial)
        return found

    def _type(self, spec: Any) -> Type:
        if isinstance(spec, ast.ArraySpecification):
            (bounds,) = spec.subranges
            return Array(self.number(bounds.start), self.number(bounds.stop), str(spec.type.type_name))
        return str(spec.type)

    def number(self, value: Any) -> int:
        """Return a constant expression's value."""
        match value:
            case ast.Boolean():
                return str(value.value).upper() in ("TRUE", "1")
            case ast.SimpleVariable():
                return self.constants[plain(value.name)][1]
            case ast.Integer() | ast.BitString():
                return int(str(value.value).replace("_", ""), value.base)
            case _:
                raise StError(f"{value} is no constant")

    def fresh(self, kind: Type, initial: Any = None) -> Callable[[], Any]:
        """Return what makes a new value of a type."""
        if isinstance(kind, Array):
            make = self.fresh(kind.item)
            return lambda: [make() for _ in range(kind.high - kind.low + 1)]
        if kind in LIMITS:
            value = initial if initial is not None else (False if kind == "BOOL" else 0)
            return lambda: value
        if plain(kind) not in self.units:
            raise StError(f"there is no type {kind}")

        def make_later() -> Any:
            return self._python[plain(kind)]()

        return make_later

    def _compile(self, unit: Unit) -> None:
        name = plain(unit.name)
        writer = Writer(self, unit)
        if unit.kind == "function":
            exec(compile(writer.function(), unit.name, "exec"), self._python)
            return
        if unit.kind == "block":
            exec(compile(writer.method(), unit.name, "exec"), self._python)
        fresh = {n: self.fresh(v.type, v.initial) for n, v in unit.variables.items() if v.role != "in_out"}
        members = {"_unit": unit, "_fresh": fresh, "run": self._python.get(f"run_{name}")}
        self._python[name] = type(unit.name, (Memory,), members)


class Writer:
    """Writes one unit as Python."""

    def __init__(self, library: Library, unit: Unit) -> None:
        self._library = library
        self._unit = unit
        self._own = "self." if unit.kind == "block" else ""

    def function(self) -> str:
        """Return the source of a function; locals start anew at each call."""
        variables = self._unit.variables.values()
        arguments = ", ".join(plain(v.name) for v in variables if v.role in ("input", "in_out"))
        start = [f"    {plain(v.name)} = {v.initial or 0}" for v in variables if v.role in ("local", "output")]
        name = plain(self._unit.name)
        lines = [f"def {name}({arguments}):", *start, *self._block(self._unit.body, 1)]
        return "\n".join([*lines, f"    return {name}", ""])

    def method(self) -> str:
        """Return the source of a block's body."""
        return "\n".join([f"def run_{plain(self._unit.name)}(self):", *self._block(self._unit.body, 1), ""])

    def _block(self, statements: Any, depth: int) -> list[str]:
        lines = [line for node in (statements.statements if statements else ()) for line in self._statement(node)]
        return ["    " * depth + line for line in lines or ["pass"]]

    def _statement(self, node: Any) -> Iterator[str]:
        match node:
            case ast.AssignmentStatement():
                yield self._assign(node)
            case ast.IfStatement():
                yield from self._if(node)
            case ast.ForStatement():
                start, end = (self._typed(e, "UINT", nested=True) for e in (node.from_, node.to))
                if node.step is not None:
                    raise StError("FOR ... BY is not used here")
                yield f"for {self._target(node.control)[0]} in range({start}, {end} + 1):"
                yield from self._block(node.statements, 1)
            case ast.WhileStatement():
                yield f"while {self._typed(node.expression, 'BOOL', nested=True)}:"
                yield from self._block(node.statements, 1)
            case ast.ReturnStatement():
                yield "return" if self._unit.kind == "block" else f"return {plain(self._unit.name)}"
            case ast.FunctionCallStatement():
                yield from self._call_block(node)
            case _:
                raise StError(f"{self._unit.name}: {type(node).__name__} is not used here")

    def _if(self, node: ast.IfStatement) -> Iterator[str]:
        yield f"if {self._typed(node.if_expression, 'BOOL', nested=True)}:"
        yield from self._block(node.statements, 1)
        for branch in node.else_ifs:
            yield f"elif {self._typed(branch.if_expression, 'BOOL', nested=True)}:"
            yield from self._block(branch.statements, 1)
        if node.else_clause:
            yield "else:"
            yield from self._block(node.else_clause.statements, 1)

    def _assign(self, node: ast.AssignmentStatement) -> str:
        (variable,) = node.variables
        target, kind = self._target(variable)
        code = self._typed(node.expression, kind, nested=False)
        return f"{target} = {code}" if kind in LIMITS else f"{target} = _clone({code})"

    def _target(self, node: Any) -> Code:
        name = plain(node.name.name if isinstance(node, ast.MultiElementVariable) else node.name)
        declared = self._unit.variables.get(name)
        if declared is None or declared.role == "input":
            raise StError(f"{self._unit.name}: {name} must not be written")
        return self._variable(node)

    def _call_block(self, node: ast.FunctionCallStatement) -> Iterator[str]:
        instance, kind = self._variable(node.name)
        callee = self._library.units[plain(kind)]
        given = self._given(callee, node.parameters)
        yield f"_block = {instance}"
        for name, code in given.items():
            yield f"_block.{name} = {code}"
        yield "_block.run()"

    def _given(self, callee: Unit, parameters: list[Any]) -> dict[str, str]:
        given: dict[str, str] = {}
        for parameter in parameters:
            name = plain(parameter.name.name)
            wanted = callee.variables[name]
            if wanted.role not in ("input", "in_out"):
                raise StError(f"{self._unit.name}: {callee.name} does not take {name}")
            given[name] = self._typed(parameter.value, wanted.type, nested=True)
        needed = {name for name, v in callee.variables.items() if v.role in ("input", "in_out")}
        if set(given) != needed:
            raise StError(f"{self._unit.name}: {callee.name} needs {needed ^ set(given)}")
        return given

    def _typed(self, node: Any, wanted: Type, *, nested: bool) -> str:
        code, kind = self._expression(node, nested=nested)
        if kind == LITERAL and wanted in ("UINT", "UDINT") and int(code) <= LIMITS[str(wanted)]:
            return code
        if kind != wanted:
            raise StError(f"{self._unit.name}: {node} is {kind}, {wanted} is needed")
        return code

    def _expression(self, node: Any, *, nested: bool = True) -> Code:
        match node:
            case ast.ParenthesizedExpression():
                return self._expression(node.expr)
            case ast.Boolean() | ast.BitString() | ast.Integer():
                kind = "BOOL" if isinstance(node, ast.Boolean) else str(node.type_name or LITERAL)
                return str(self._library.number(node)), kind
            case ast.SimpleVariable() | ast.MultiElementVariable():
                return self._variable(node)
            case ast.UnaryOperation():
                return f"(not {self._typed(node.expr, 'BOOL', nested=True)})", "BOOL"
            case ast.BinaryOperation():
                return self._binary(node, nested)
            case ast.FunctionCall():
                return self._call(node)
            case _:
                raise StError(f"{self._unit.name}: {type(node).__name__} is not used here")

    def _binary(self, node: ast.BinaryOperation, nested: bool) -> Code:
        operator = str(node.op).upper()
        (left, a), (right, b) = self._expression(node.left), self._expression(node.right)
        kind = b if a == LITERAL else a
        if a != b and LITERAL not in (a, b):
            raise StError(f"{self._unit.name}: {node}: {a} and {b} do not mix")
        code = f"({left} {SYMBOLS.get(operator, operator)} {right})"
        if operator in ("=", "<>", "<", ">", "<=", ">="):
            return code, "BOOL"
        if operator in ("AND", "OR", "XOR"):
            if kind not in ("BOOL", "WORD"):
                raise StError(f"{self._unit.name}: {node}: {operator} of {kind}")
            return code, kind
        if kind not in ("UINT", "UDINT"):
            raise StError(f"{self._unit.name}: {node}: arithmetic of {kind}")
        if kind == "UDINT" and not nested and operator in ("+", "-"):
            return f"({code} & 0xFFFFFFFF)", kind
        return f"_fit({code}, {LIMITS[kind]})", kind

    def _call(self, node: ast.FunctionCall) -> Code:
        name = str(node.name.name)
        if name.upper() in CONVERSIONS:
            source, target = CONVERSIONS[name.upper()]
            return f"_fit({self._typed(node.parameters[0].value, source, nested=True)}, {LIMITS[target]})", target
        if name.upper() == "SHR":
            value, count = (parameter.value for parameter in node.parameters)
            return f"({self._typed(value, 'WORD', nested=True)} >> {self._library.number(count)})", "WORD"
        callee = self._library.units[plain(name)]
        given = self._given(callee, node.parameters)
        return f"{plain(name)}({', '.join(f'{n}={code}' for n, code in given.items())})", callee.result

    def _variable(self, node: Any) -> Code:
        head = node.name if isinstance(node, ast.MultiElementVariable) else node
        name = plain(head.name)
        if name in self._library.constants:
            kind, value = self._library.constants[name]
            return str(value), kind
        if name not in self._unit.variables:
            raise StError(f"{self._unit.name}: {name} is not declared")
        code, kind = f"{self._own}{name}", self._unit.variables[name].type
        for element in getattr(node, "elements", ()):
            code, kind = self._element(code, kind, element)
        return code, kind

    def _element(self, code: str, kind: Type, element: Any) -> Code:
        if isinstance(element, ast.SubscriptList):
            assert isinstance(kind, Array)
            (subscript,) = element.subscripts
            place = self._typed(subscript, "UINT", nested=True)
            return f"{code}[_index({place}, {kind.low}, {kind.high})]", kind.item
        field = plain(element.field.name)
        variable = self._library.units[plain(kind)].variables[field]
        if self._library.units[plain(kind)].kind == "block" and variable.role != "output":
            raise StError(f"{self._unit.name}: {field} is no output of {kind}")
        return f"{code}.{field}", variable.type
