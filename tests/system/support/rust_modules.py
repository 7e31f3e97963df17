"""The modules of a Rust crate, and which of them import which, read from the sources without a compiler."""

import re
from pathlib import Path

USE = re.compile(r"\buse\s+([^;]+);")
TYPE = re.compile(r"^(?:pub(?:\([a-z]+\))? )?(?:struct|enum|trait|type|union) (\w+)", re.MULTILINE)
TEST_MODULE = "#[cfg(test)]\nmod tests"


def crates(repository: Path) -> list[Path]:
    """The `src` directories of the workspace."""
    found = [*repository.glob("*/src"), *repository.glob("crates/*/src")]
    return sorted(path for path in found if (path.parent / "Cargo.toml").exists())


def sources(src: Path) -> dict[tuple[str, ...], str]:
    """The code of each module by its path, without comments and unit tests."""
    code = {}
    for file in src.rglob("*.rs"):
        path = file.relative_to(src).with_suffix("").parts
        if "tests" in path:
            continue
        text = file.read_text().split(TEST_MODULE)[0]
        module = path[:-1] if path[-1] in ("mod", "lib", "main") else path
        code[module] = re.sub(r"//[^\n]*", "", text)
    return code


def imports(src: Path) -> dict[str, set[str]]:
    """The top-level modules of the crate that each top-level module names, re-exports resolved to their module."""
    code = sources(src)
    modules = {path[0] for path in code if path}
    exported = {}
    for path in used_paths(code.get((), "")):
        names = [name for name in path if name not in ("crate", "self")]
        if len(names) > 1 and names[0] in modules:
            exported[names[-1]] = names[0]
    found = {module: set() for module in modules}
    for path, text in code.items():
        if not path:
            continue
        named = [absolute(used, path) for used in used_paths(text)]
        named += [absolute(tuple(found.split("::")), path) for found in re.findall(r"\b(?:crate|super)(?:::\w+)+", text)]
        for target in named:
            if target[:1] == ("crate",) and len(target) > 1:
                module = target[1] if target[1] in modules else exported.get(target[1])
                if module and module != path[0]:
                    found[path[0]].add(module)
    return found


def absolute(used: tuple[str, ...], module: tuple[str, ...]) -> tuple[str, ...]:
    """A path of a `use` line in `module`, from the root of the crate; other crates' paths stay as they are."""
    levels = 0
    while used[levels : levels + 1] == ("super",):
        levels += 1
    if levels:
        return ("crate", *module[: len(module) - levels], *used[levels:])
    if used[0] == "self":
        return ("crate", *module, *used[1:])
    return used


def used_paths(text: str):
    """Each path that the `use` lines of `text` name."""
    for tree in USE.findall(text):
        yield from expanded(tree)


def expanded(tree: str, prefix: tuple[str, ...] = ()):
    """The paths of one `use` tree."""
    for part in parts(tree):
        if "{" in part:
            head, inner = part.split("{", 1)
            names = tuple(name.strip() for name in head.split("::") if name.strip())
            yield from expanded(inner.rsplit("}", 1)[0], prefix + names)
        else:
            yield prefix + tuple(name.strip() for name in part.split(" as ")[0].split("::"))


def parts(tree: str) -> list[str]:
    """The members of a `use` tree, split at the commas outside of braces."""
    found, depth = [""], 0
    for character in tree:
        depth += {"{": 1, "}": -1}.get(character, 0)
        if character == "," and depth == 0:
            found.append("")
        else:
            found[-1] += character
    return [part.strip() for part in found if part.strip()]


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other, directly or through others."""
    reached = {module: reachable(edges, module) for module in edges}
    groups = {
        frozenset(other for other in reached[module] if module in reached[other])
        for module in edges
        if module in reached[module]
    }
    return sorted(sorted(group) for group in groups)


def reachable(edges: dict[str, set[str]], start: str) -> set[str]:
    seen, open_modules = set(), [start]
    while open_modules:
        for module in edges.get(open_modules.pop(), ()):
            if module not in seen:
                seen.add(module)
                open_modules.append(module)
    return seen


def types(src: Path) -> list[tuple[str, str]]:
    """Each type that the crate defines outside of functions, with its module."""
    return [(name, "::".join(path)) for path, text in sources(src).items() for name in TYPE.findall(text)]
