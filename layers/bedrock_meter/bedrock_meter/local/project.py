"""Where things are: the checkout that is deployed locally, and the environment that the local stack lives in."""

import os
from dataclasses import dataclass
from pathlib import Path

from bedrock_meter.errors import ConfigurationError

STACK_PYTHON_VARIABLE = "BEDROCK_METER_LOCAL_STACK_PYTHON"
STATE_VARIABLE = "BEDROCK_METER_LOCAL_STATE"


@dataclass(frozen=True, slots=True)
class Project:
    """A checkout of this repository."""

    root: Path

    @property
    def template(self) -> Path:
        """The template that is deployed: the same one as on AWS."""
        return self.root / "template.yaml"

    @property
    def layer_builder(self) -> Path:
        """Builds the layers for this machine."""
        return self.root / "layers" / "build.py"

    @property
    def built_layers(self) -> Path:
        """Where the layer builder leaves the layers for this machine, each in a folder of its name."""
        return self.root / ".build" / "host"

    @property
    def state(self) -> Path:
        """What local stacks leave behind, and how commands find the one that is served; ignored by git."""
        override = os.environ.get(STATE_VARIABLE, "")
        return Path(override) if override else self.root / ".local"

    @property
    def samples(self) -> Path:
        """Sample records and tenants."""
        return self.root / "events"

    def stack_python(self) -> Path:
        """Return the Python of the local stack's environment.

        Raises:
            ConfigurationError: There is none.
        """
        override = os.environ.get(STACK_PYTHON_VARIABLE, "")
        python = Path(override) if override else self.root / ".venv-local-stack" / "bin" / "python"
        if not python.is_file():
            raise ConfigurationError(
                f"the local AWS stack is not installed ({python} is missing): `make run` installs and uses it"
            )
        return python


def find_project() -> Project:
    """Return the checkout that this package is installed from, or else the one that the working folder is in.

    Raises:
        ConfigurationError: There is none.
    """
    here = Path(__file__).resolve()
    for folder in (here.parents[4], Path.cwd(), *Path.cwd().parents):
        project = Project(folder)
        if project.template.is_file() and project.layer_builder.is_file():
            return project
    raise ConfigurationError("no checkout of bedrock-meter here: a local stack deploys its template.yaml")
