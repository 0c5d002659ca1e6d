"""The text of a formula to Python's syntax tree: sizes, names, definitions after ``;``;
nothing of it is ever evaluated.
"""

from __future__ import annotations

import ast
import re
import unicodedata
from collections.abc import Mapping

MAX_LENGTH = 4000
MAX_DEPTH = 60
MAX_NODES = 2000
MAX_INTEGER = 10**18
MAX_EXPONENT = 64
MAX_EXTREMA = 16
MAX_CALLS = 8

#: Parts beyond which a formula is kept as it is written: what sympy asks of each of them takes longer the more there
#: are.
MAX_SIMPLIFIED = 250

#: Whole numbers beyond which roots of them are floats: sympy looks for their factors.
MAX_FACTORED = 10**6

#: Functions that a formula may call, with the number of their arguments.
FUNCTIONS: dict[str, int] = {
    **dict.fromkeys(("exp", "log", "log10", "log2", "sqrt", "cbrt", "abs", "sin", "cos", "tan"), 1),
    **dict.fromkeys(("asin", "acos", "atan", "sinh", "cosh", "tanh", "erf", "erfc", "gamma", "loggamma"), 1),
    **dict.fromkeys(("digamma", "trigamma", "erfcx", "erfcx_prime", "heaviside", "sign"), 1),
    **dict.fromkeys(("besselj0", "besselj1", "jinc", "jinc_prime"), 1),
    **dict.fromkeys(("wofz_real", "wofz_imag", "wofz_prime_real", "wofz_prime_imag"), 2),
    **dict.fromkeys(("wofz_second_real", "wofz_second_imag", "atan2", "minimum", "maximum"), 2),
    **dict.fromkeys(("voigt", "where"), 3),
}

#: Other spellings of the same functions.
ALIASES = {
    "Abs": "abs",
    "arcsin": "asin",
    "arccos": "acos",
    "arctan": "atan",
    "arctan2": "atan2",
    "lgamma": "loggamma",
    "Heaviside": "heaviside",
    "Min": "minimum",
    "Max": "maximum",
    "min": "minimum",
    "max": "maximum",
}

CONSTANTS = ("pi", "E")


#: What to do about a formula that is too long or too deep.
WAY_OUT = "split it into several components, or write it in Python with @xfit.component"


class FormulaError(ValueError):
    """A formula that can't be used; the message quotes it and says what is wrong."""


def shortened(text: str) -> str:
    """The beginning of a long text."""
    return text if len(text) <= 80 else text[:77] + "..."


def refuse(text: str, reason: str) -> FormulaError:
    """The error that says what is wrong with a formula."""
    return FormulaError(f"formula {shortened(text)!r}: {reason}")


def _quote_names(text: str) -> tuple[str, dict[str, str]]:
    """Replace component names in backticks by identifiers; return the text and what they stand for."""
    quoted: dict[str, str] = {}

    def replace(match: re.Match[str]) -> str:
        key = f"quoted{len(quoted)}_"
        while key in text:
            key += "_"
        quoted[key] = match.group(1)
        return key

    replaced = re.sub(r"`([^`]+)`(?=\s*\.)", replace, text)
    if "`" in replaced:
        raise refuse(text, "backticks quote a component's name before a dot, as in `line with offset`.a")
    return replaced, quoted


def _syntax(text: str, part: str) -> ast.expr:
    """Parse one expression, refusing whatever Python's parser can't stomach."""
    try:
        tree = ast.parse(part.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise refuse(text, f"not a valid expression ({type(error).__name__}: {error})") from None
    return tree.body


def _check_text(text: str) -> None:
    if not isinstance(text, str):
        raise FormulaError(f"a formula must be text, not {type(text).__name__}")
    if not text.strip():
        raise FormulaError("a formula must not be empty")
    if len(text) > MAX_LENGTH:
        raise refuse(text, f"longer than {MAX_LENGTH} characters")
    if any(ch < " " and ch not in "\t\n\r" for ch in text):
        raise refuse(text, "control characters are not allowed")


def _check_code(text: str, replaced: str) -> None:
    """Check a text in which component names in backticks have been replaced: they may contain anything."""
    if "^" in replaced:
        raise refuse(text, "'^' is not a power; write **")
    for name in re.findall(r"[^\W\d]\w*", replaced):
        # Python's parser would silently take another name, the normal form, for it.
        if unicodedata.normalize("NFKC", name) != name:
            raise refuse(text, f"the name {name!r} is not in normal form")
    depth = 0
    for ch in replaced:
        depth += (ch in "([{") - (ch in ")]}")
        if depth > MAX_DEPTH:
            raise refuse(text, f"nested deeper than {MAX_DEPTH} levels")


def statements(text: str) -> tuple[ast.expr, dict[str, ast.expr], dict[str, str]]:
    """Split HyperSpy's ``;`` substitutions: the expression, the definitions after it, and quoted names."""
    _check_text(text)
    replaced, quoted = _quote_names(text)
    _check_code(text, replaced)
    head, *rest = replaced.split(";")
    if not head.strip():
        raise refuse(text, "the expression before the first ';' is empty")
    definitions: dict[str, ast.expr] = {}
    for part in rest:
        if not part.strip():
            continue
        name, equals, value = part.partition("=")
        name = name.strip()
        if not equals or not name.isidentifier() or value.startswith("="):
            raise refuse(text, f"after ';' a definition 'name = expression' is needed, not {part.strip()!r}")
        if name in definitions:
            raise refuse(text, f"{name!r} is defined twice")
        if name in FUNCTIONS or name in ALIASES or name in CONSTANTS:
            raise refuse(text, f"{name!r} is a function or constant and can't be defined")
        definitions[name] = _syntax(text, value)
    tree = _syntax(text, head)
    for expression in (tree, *definitions.values()):
        _check_size(text, expression)
    return tree, definitions, quoted


def _check_size(text: str, tree: ast.expr) -> None:
    stack: list[tuple[ast.AST, int]] = [(tree, 1)]
    nodes = 0
    while stack:
        node, depth = stack.pop()
        nodes += 1
        if depth > 4 * MAX_DEPTH or nodes > MAX_NODES:
            raise refuse(text, f"more than {MAX_NODES} parts, or nested too deeply; {WAY_OUT}")
        stack += [(child, depth + 1) for child in ast.iter_child_nodes(node)]


def dotted(text: str, node: ast.Attribute, quoted: Mapping[str, str]) -> str:
    """Full name of the parameter that a node such as ``Fe.A`` stands for."""
    if not isinstance(node.value, ast.Name):
        raise refuse(text, "a dot stands between a component's name and its parameter's name only, as in Fe.A")
    if node.attr.startswith("__") or node.value.id.startswith("__"):
        raise refuse(text, "names must not begin with two underscores")
    return f"{quoted.get(node.value.id, node.value.id)}.{node.attr}"
