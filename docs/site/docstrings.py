"""Docstrings as Markdown: an extension of griffe, which reads them."""

import re

import griffe

#: :func:`name`, :class:`~path.of.Name`
ROLE = re.compile(r':\w+:`~?([\w.]+)`')
#: what announces a block of literal text, alone on its line or not
LITERAL = re.compile(r'^ *::$|(?<=\S:):$', re.MULTILINE)
#: names that share a line, 'near, far (float): in metres', with all that is
#: indented below it
SHARED = re.compile(
    r'^( {4})((?:\*{0,2}\w+,\s+)+\*{0,2}\w+)((?: \(.*?\))?:.*(?:\n+\1 .*)*)',
    re.MULTILINE,
)
CODE = re.compile(r'(`+).*?\1', re.DOTALL)
TAG = re.compile(r'<\w[^>]*>')


class Docstrings(griffe.Extension):
    """Translates what griffe or Markdown would not understand.

    Roles of Sphinx become links, ``::`` before a block is dropped, and each
    argument gets a line of its own.
    """

    def on_instance(self, *, obj: griffe.Object, **kwargs) -> None:
        """Rewrite the docstring of a module, class, function or attribute."""
        if obj.docstring is None:
            return
        text = obj.docstring.value
        for tag in TAG.findall(CODE.sub('', text)):
            griffe.logger.warning(
                f'{obj.path}: {tag} is HTML to a browser without backticks'
            )
        text = SHARED.sub(_apart, text)
        text = ROLE.sub(lambda match: _link(obj, match[1]), text)
        obj.docstring.value = LITERAL.sub('', text)


def _apart(match: re.Match) -> str:
    indent, names, text = match.groups()
    lines = (f'{indent}{name}{text}' for name in re.split(r',\s+', names))
    return '\n'.join(lines)


def _link(obj: griffe.Object, name: str) -> str:
    """A link to a name that the object sees; private ones stay words."""
    try:
        path = obj.resolve(name)
    except griffe.NameResolutionError:
        path = name
    label = name.rpartition('.')[2]
    return f'<autoref optional identifier="{path}">`{label}`</autoref>'
