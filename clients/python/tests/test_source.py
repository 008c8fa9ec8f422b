"""What holds for the source as a whole."""

import ast
import pathlib
import re
import unittest

import rollcall

HERE = pathlib.Path(__file__).parents[1]
FILES = sorted(p for p in HERE.rglob("*.py") if "build" not in p.relative_to(HERE).parts)


class Source(unittest.TestCase):
    def test_every_file_is_python_3_9(self):
        self.assertGreater(len(FILES), 14)
        for path in FILES:
            with self.subTest(path.name):
                ast.parse(path.read_text("utf-8"), feature_version=(3, 9))

    def test_no_names_of_later_libraries(self):
        later = re.compile(r"\b(asyncio\.(timeout|TaskGroup|Runner|to_thread_pool)|StrEnum|ExceptionGroup|anext\(|aiter\(|pairwise|slots=True"
                           r"|zip\(.*strict=|bit_count|tomllib|typing import .*\b(Self|TypeAlias|ParamSpec|Never|NotRequired)\b)")
        for path in FILES:
            if path != pathlib.Path(__file__):
                self.assertIsNone(later.search(path.read_text("utf-8")), path.name)

    def test_nothing_is_logged_or_printed(self):
        for path in (HERE / "src").rglob("*.py"):
            tree = ast.parse(path.read_text("utf-8"))
            names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} | {a.name for n in ast.walk(tree) if isinstance(n, ast.Import)
                                                                                 for a in n.names}
            self.assertFalse(names & {"print", "logging", "warnings"}, path.name)

    def test_every_public_name_has_a_docstring(self):
        for path in (HERE / "src").rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.ClassDef):
                    public = [n for n in node.body if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef)) and not n.name.startswith("_")]
                    if not node.name.startswith("_") and path.name not in ("_link.py", "_mailbox.py"):
                        for n in [node] + public:
                            self.assertTrue(ast.get_docstring(n), f"{path.name}: {node.name}.{n.name}")

    def test_the_version_is_that_of_the_package(self):
        self.assertIn(f'version = "{rollcall.__version__}"', (HERE / "pyproject.toml").read_text("utf-8"))
        self.assertTrue((HERE / "src" / "rollcall" / "py.typed").exists())


if __name__ == "__main__":
    unittest.main()
