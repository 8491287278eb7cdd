"""YAML as we read it: plain values, and each name once. PyYAML keeps the last of two and says nothing."""

from typing import Any

import yaml

_MOST_DEEP = 100


class _Loader(yaml.SafeLoader):
    """Plain values alone; a mapping that names something twice is refused."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """See `yaml.SafeLoader`."""
        seen: dict[str, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                line = key.start_mark.line + 1
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None,
                        None,
                        f"`{key.value[:80]}` is given twice: in line {seen[key.value]} and in line {line}",
                    )
                seen[key.value] = line
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


def load_yaml(text: str) -> Any:
    """What a text says.

    Raises:
        yaml.YAMLError: It is no YAML, holds more than plain values, or gives something twice.
    """
    return yaml.load(text, Loader=_Loader)  # noqa: S506  # a safe one


def holds_aliases(text: str) -> bool:
    """Whether a text holds aliases (`*name`), by which a short one stands for an endless one.

    Raises:
        yaml.YAMLError: It is no YAML, or nested more than 100 deep: the library's time grows with the square of that.
    """
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            return True
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MOST_DEEP:
            raise yaml.YAMLError(f"it is nested more than {_MOST_DEEP} deep")
    return False
