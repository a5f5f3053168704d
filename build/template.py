"""Read CloudFormation templates, with the short forms of functions replaced by their arguments."""

from typing import Any

import yaml

from build import ROOT


class Loader(yaml.SafeLoader):
    """Loads CloudFormation's YAML without its function tags: `!Ref Bucket` as "Bucket"."""


def construct(loader: Loader, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    return loader.construct_sequence(node, deep=True) if isinstance(node, yaml.SequenceNode) else node.value


Loader.add_multi_constructor("!", construct)


def load(name: str) -> dict[str, Any]:
    """Return a template of templates/."""
    return yaml.load((ROOT / "templates" / name).read_text(), Loader)  # noqa: S506  (a SafeLoader)


def mapping(name: str, of: str) -> dict[str, dict[str, str]]:
    """Return the mapping `of` from a template of templates/."""
    return load(name)["Mappings"][of]
