"""What the reference makes of docstrings: an extension of griffe, which reads them."""

import copy
import re

import griffe

DOCTEST = re.compile(r"(?:^>>> .*(?:\n(?!$).*)*\n*)+", re.MULTILINE)

ROWS = re.compile(r"per_row\((\w+)\.(resid_\w+)\)")

# Whose records a user makes: they are shown as calls, the others by their fields.
MADE = re.compile(r"jaxglm\.(families|links|penalties|designs|solvers\.\w+|simulate\.study)\.")

FENCED = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]+`")
# What is said after the last argument of a paragraph.
TAIL = re.compile(r" (?=(?:Raises|Returns|Warns|Source:) )")


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
        """Show how an instance is made, or the fields of a record."""
        if cls.docstring is None:
            return
        names, values = fields_of(cls) if is_record(cls) else arguments_of(cls)
        text = cls.docstring.value = as_list(cls.docstring.value, names)
        if values and (not is_record(cls) or MADE.match(cls.path)):
            cls.docstring.value = f"```python\n{call(cls.name, values)}\n```\n\n{text}"
        elif not all(f"`{name}`" in text for name in names):
            cls.docstring.value += "\n\nFields: " + ", ".join(f"`{v}`" for v in values) + "."

    def on_package(self, *, pkg, **kwargs):
        """Put functions in the place of attributes such as `anova = comparisons.anova`."""
        modules = list(modules_of(pkg))
        places = places_of(modules)
        for thing in (thing for module in modules for thing in documented(module)):
            names = parameter_names(thing) if thing.is_function else []
            text = as_list(thing.docstring.value, names)
            own = fields_of(thing)[0] if thing.is_class else names
            thing.docstring.value = linked(text, thing, places, own)
        for module in modules:
            for owner in module.classes.values():
                for name, member in [] if owner.is_alias else list(owner.members.items()):
                    method = bound_function(pkg, module, member)
                    if method is not None and not name.startswith("_"):
                        owner.set_member(name, as_method(name, method))
                    rows = ROWS.fullmatch(str(member.value)) if member.is_attribute else None
                    if rows:  # residuals, each a function of `diagnostics`
                        text = pkg.modules[rows[1]].members[rows[2]].docstring.value
                        member.docstring = griffe.Docstring(text, parent=member)
                        member.labels -= {"class-attribute", "instance-attribute"}


def modules_of(package):
    """All public modules within a package."""
    for module in package.modules.values():
        if not module.name.startswith("_"):
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
    return member.name if plain else f"{member.name}={default}"


def fields_of(cls):
    """The fields of a record: their names, and these with defaults."""
    fields = [member for member in cls.members.values() if is_field(member)]
    return [member.name for member in fields], [described(member) for member in fields]


def arguments_of(cls):
    """The arguments of a class's own constructor, in the same two ways."""
    made = cls.members.get("__init__")
    if made is None or made.is_alias:
        return [], []
    kinds = griffe.ParameterKind
    signs = {kinds.var_positional: "*", kinds.var_keyword: "**"}
    own = list(made.parameters)[1:]
    values = [
        signs.get(one.kind, "") + one.name + (f"={one.default}" if one.default else "")
        for one in own
    ]
    first = [n for n, one in enumerate(own) if one.kind is kinds.keyword_only]
    if first:
        values.insert(first[0], "*")
    return [one.name for one in own], values


def call(name, values):
    """A call of these arguments, an argument a line where they are too long for one."""
    short = f"{name}({', '.join(values)})"
    if len(short) <= 80:
        return short
    return f"{name}(\n" + "".join(f"    {value},\n" for value in values) + ")"


def parameter_names(function):
    """The names of a function's arguments."""
    return [one.name for one in function.parameters if one.name not in ("self", "cls")]


def documented(module):
    """All functions and classes of a module that have a docstring, and their methods."""
    for thing in module.members.values():
        if thing.is_alias or not (thing.is_function or thing.is_class):
            continue
        inner = list(thing.members.values()) if thing.is_class else []
        for one in [thing, *inner]:
            if not one.is_alias and one.docstring is not None and not one.name.startswith("_"):
                yield one


def places_of(modules):
    """Where the reference has what docstrings name: a path for `fit_many`, `lanes.to_frame`."""
    found = {}
    for module in modules:
        for thing in documented(module):
            path = thing.path.split(".")
            depth = 2 if thing.parent.is_class else 1
            for name in {".".join(path[-depth:]), ".".join(path[-depth - 1 :])}:
                found.setdefault(name, set()).add(thing.path)
    return {name: paths.pop() for name, paths in found.items() if len(paths) == 1}


def linked(text, thing, places, names):
    """A docstring whose code leads to what it names; the site leaves out links to nowhere."""
    owner = thing if thing.is_class else thing.parent

    def link(match):
        words = match[0].strip("`")
        name = words.removeprefix("jaxglm.")
        own = places.get(f"{owner.name}.{name}") if name == words else None
        place = own or places.get(name)
        if place in (None, thing.path) or name in names:
            return match[0]
        return f'<autoref optional identifier="{place}"><code>{words}</code></autoref>'

    parts = FENCED.split(text)
    return "".join(part if n % 2 else CODE.sub(link, part) for n, part in enumerate(parts))


def as_list(text, names):
    """A docstring whose paragraphs on arguments ("name: what it is. name (n,): ...") are lists."""
    if not names:
        return text
    one = rf"`?(?:{'|'.join(map(re.escape, names))})`?(?![\w.=\[(])"
    many = rf"{one}(?: \([^)]*\))?(?:(?:, | and |, and ){one}(?: \([^)]*\))?)*"
    # What begins with a name: a sentence, or what stands between semicolons.
    start = re.compile(rf"(?:^|(?<=[.;] ))(?={many}[ :,])")
    bare = re.compile(rf"(?<![\w.`\"=*])({'|'.join(map(re.escape, names))})(?![\w`\"=(]|\.\w)")

    def listed(paragraph):
        whole = " ".join(paragraph.split()).removeprefix("Attributes: ")
        places = [found.start() for found in start.finditer(whole)]
        if len(places) < 2 or paragraph.startswith(("```", "    ", "- ")):
            return paragraph
        ends = [*places[1:], len(whole)]
        items = [whole[a:b].strip().rstrip(";") for a, b in zip(places, ends, strict=True)]
        items[-1], *tail = TAIL.split(items[-1], maxsplit=1)
        rows = "\n".join(f"- {marked(item)}" for item in items)
        before = re.sub(";$", ".", whole[: places[0]].strip())
        return "\n\n".join(part for part in (before, rows, *tail) if part)

    def marked(item):
        end = re.match(many, item).end()
        parts = re.split(r"(\([^)]*\))", item[:end])
        parts[::2] = [bare.sub(r"`\1`", part) for part in parts[::2]]
        return "".join(parts) + item[end:]

    parts = FENCED.split(text)
    return "".join(
        part if n % 2 else "\n\n".join(map(listed, part.split("\n\n")))
        for n, part in enumerate(parts)
    )


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
    if found is not None and found.is_alias:
        module, _, name = found.target_path.removeprefix(f"{pkg.name}.").rpartition(".")
        inside = module and found.target_path.startswith(f"{pkg.name}.")
        found = pkg[module].members.get(name) if inside else None
    return found if found is not None and not found.is_alias and found.is_function else None
