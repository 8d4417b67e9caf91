"""What the reference makes of docstrings: an extension of griffe, which reads them."""

import copy
import re

import griffe

DOCTEST = re.compile(r"(?:^>>> .*(?:\n(?!$).*)*\n*)+", re.MULTILINE)

ROWS = re.compile(r"per_row\((\w+)\.(resid_\w+)\)")


class Docstrings(griffe.Extension):
    """Doctests as code, the fields of records, and methods bound from other modules as methods."""

    def on_instance(self, *, obj, **kwargs):
        """Fence the doctests of one object; a module's floor is no news to its user."""
        if obj.docstring:
            text = DOCTEST.sub(lambda m: f"```pycon\n{m[0].rstrip()}\n```\n\n", obj.docstring.value)
            floor = re.match(r"Floor \d+: (.)", text) if obj.is_module else None
            text = floor[1].upper() + text[floor.end() :] if floor else text
            obj.docstring.value = text.rstrip()

    def on_class(self, *, cls, **kwargs):
        """Name the fields of a record."""
        fields = [described(m) for m in cls.members.values() if is_field(m)]
        if fields and cls.docstring and is_record(cls):
            cls.docstring.value += "\n\nFields: " + ", ".join(fields) + "."

    def on_package(self, *, pkg, **kwargs):
        """Put functions in the place of attributes such as `anova = comparisons.anova`."""
        for module in modules_of(pkg):
            for owner in module.classes.values():
                for name, member in [] if owner.is_alias else list(owner.members.items()):
                    method = bound_function(pkg, module, member)
                    if method is not None and not name.startswith("_"):
                        owner.set_member(name, as_method(name, method))
                    rows = ROWS.fullmatch(str(member.value)) if member.is_attribute else None
                    if rows:  # residuals, each a function of `diagnostics`
                        text = pkg.modules[rows[1]].members[rows[2]].docstring.value
                        member.docstring = griffe.Docstring(text, parent=member)


def modules_of(package):
    """All modules within a package."""
    for module in package.modules.values():
        yield module
        yield from modules_of(module)


def is_record(cls):
    """Whether a class's annotations are its fields."""
    decorators = " ".join(str(decorator.value) for decorator in cls.decorators)
    return bool(re.search("record|dataclass", decorators)) or "NamedTuple" in map(str, cls.bases)


def is_field(member):
    """Whether an attribute is annotated and belongs to each instance, as no ClassVar does."""
    if member.is_alias or not member.is_attribute or member.name.startswith("_"):
        return False
    return member.annotation is not None and "instance-attribute" in member.labels


def described(member):
    """A field's name, and its default where it has one."""
    default = re.sub(
        r"^(static|dataclasses\.field|field)\((default=)?(.*)\)$", r"\3", str(member.value)
    )
    plain = member.value is None or not default or "repr=" in default or "factory" in default
    return f"`{member.name}`" if plain else f"`{member.name} = {default}`"


def as_method(name, function):
    """A function as its caller sees it once it is bound: without its first argument."""
    method = copy.copy(function)
    method.name = name
    method.parameters = griffe.Parameters(*list(function.parameters)[1:])
    return method


def bound_function(pkg, module, member):
    """The function of the package that an attribute names, if it does."""
    if member.is_alias or not member.is_attribute or member.value is None:
        return None
    words = str(member.value).split(".")
    where = pkg.modules.get(words[0]) if len(words) == 2 else module
    found = where.members.get(words[-1]) if where is not None and len(words) < 3 else None
    return found if found is not None and not found.is_alias and found.is_function else None
