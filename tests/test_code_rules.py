"""Rules that every module keeps: no text is cut before it is redacted, and no model file can run code."""

from __future__ import annotations

import ast

import pytest

from tasks.settings import PROJECT

FOLDERS = ("cli", "tasks", "flows", "evidence")
CUTTERS = {"tasks/secrets.py"}
LONG = 20  # signs: a shorter piece of a text is a date, a hash or a code
NO_WORDS = {
    "tasks/warehouse/bigquery/zones.py: fingerprint(sha256_of(path), 'full' if rows_kept is None else 'thin')[:60]",
    "tasks/features/technical.py: mode[:63]",
    "tasks/sources/usda_fas.py: content[:100000]",  # looked for an error's words, which are quoted
    "tasks/sources/payloads.py: piece[-4096:]",
    "tasks/sources/texts.py: before[-20:]",  # redacted already
}


def test_no_text_is_cut_but_by_the_function_that_redacts_first() -> None:
    found = set()
    for path in [path for folder in FOLDERS[:3] for path in sorted((PROJECT / folder).rglob("*.py"))]:
        name = path.relative_to(PROJECT).as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice) and name not in CUTTERS:
                lower, upper = _number(node.slice.lower) or 0, _number(node.slice.upper)
                if (upper or 0) - max(lower, 0) >= LONG or lower <= -LONG:
                    found.add(f"{name}: {ast.unparse(node)}")
            elif isinstance(node, ast.ImportFrom) and node.module == "textwrap":
                found |= {f"{name}: {one.name}" for one in node.names if one.name == "shorten"}
    assert found == NO_WORDS


def _number(node: ast.expr | None) -> int | None:
    try:
        return eval(compile(ast.Expression(node), "", "eval"), {"__builtins__": {}}) if node else None
    except NameError:
        return None


def test_no_model_file_is_read_by_torch_load_or_unpickled() -> None:
    found = []
    for path in [path for folder in FOLDERS[:3] for path in sorted((PROJECT / folder).rglob("*.py"))]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in ("torch.load", "torch.jit.load", "joblib.load"):
                found.append(f"{path}: {ast.unparse(node)}")
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {getattr(node, "module", "") or "", *(one.name for one in node.names)}
                found += [f"{path}: {name}" for name in names & {"pickle", "joblib", "dill", "cloudpickle", "marshal"}]
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False":
                found.append(f"{path}: allow_pickle")
    assert not found


PRIVATE_WORDS = {"told", "held", "made", "came", "said"}
"""What a value, a reason, a stored table or a result is not called."""


def test_names_are_words_of_the_field() -> None:
    found = []
    for path in [path for folder in FOLDERS for path in sorted((PROJECT / folder).rglob("*.py"))]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                name = node.name
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                name = node.id
            else:
                name = node.arg if isinstance(node, ast.arg) else ""
            if name.strip("_") in PRIVATE_WORDS:
                found.append(f"{path.relative_to(PROJECT)}:{getattr(node, 'lineno', 0)}: {name}")
    assert not found


def test_the_name_of_a_test_is_not_a_files_content(request: pytest.FixtureRequest) -> None:
    """A ZIP packed at import carries its second: two of pytest's processes would collect tests of other names."""
    name_of = request.config.hook.pytest_make_parametrize_id
    config = request.config
    assert name_of(config=config, val=b"PK\x03\x04\x14\x00(\x94~]", argname="body") == "body"
    assert name_of(config=config, val="date,open\n" * 20, argname="text") == "text"
    assert name_of(config=config, val=b"<html>maintenance</html>", argname="body") != "body"
