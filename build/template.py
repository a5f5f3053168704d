"""Read CloudFormation templates, with their short forms as the values that they hold."""

from typing import Any

import yaml

from build import ROOT


class Loader(yaml.SafeLoader):
    """YAML as CloudFormation has it: !Ref Bucket is read as Bucket."""


def construct(loader: Loader, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    return loader.construct_sequence(node, deep=True) if isinstance(node, yaml.SequenceNode) else node.value


Loader.add_multi_constructor("!", construct)


def load(name: str) -> dict[str, Any]:
    """A template of templates/."""
    return yaml.load((ROOT / "templates" / name).read_text(), Loader)  # noqa: S506  (a SafeLoader)


def mapping(name: str, of: str) -> dict[str, dict[str, str]]:
    """A mapping of a template."""
    return load(name)["Mappings"][of]
