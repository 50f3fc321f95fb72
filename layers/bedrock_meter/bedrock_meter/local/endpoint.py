"""The address of a local stack, and clients that can reach nothing else."""

import os
from dataclasses import dataclass
from typing import Any

REGION = "us-east-1"
OPERATOR = "local"
"""Access key and secret of the local stack's operator: it is told them when it starts, and only listens on loopback."""

_READ_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A local stack that listens on loopback.

    Attributes:
        url: For example ``http://127.0.0.1:4566``.
    """

    url: str

    def client(self, service: str) -> Any:
        """Return a client of one service. It takes nothing from the user's AWS settings."""
        from botocore.config import Config
        from botocore.configprovider import ConstantProvider
        from botocore.session import get_session

        session = get_session()
        settings = session.get_component("config_store")
        for name, value in {"profile": None, "config_file": os.devnull, "credentials_file": os.devnull}.items():
            settings.set_config_provider(name, ConstantProvider(value))
        return session.create_client(
            service,
            region_name=REGION,
            endpoint_url=self.url,
            aws_access_key_id=OPERATOR,
            aws_secret_access_key=OPERATOR,
            config=Config(
                read_timeout=_READ_TIMEOUT_S,
                retries={"mode": "standard", "total_max_attempts": 2},
                use_dualstack_endpoint=False,
                use_fips_endpoint=False,
            ),
        )

    def environment(self) -> dict[str, str]:
        """Return the environment variables that make any AWS SDK talk to this stack and to nothing else."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": OPERATOR,
            "AWS_SECRET_ACCESS_KEY": OPERATOR,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def adopt(self) -> None:
        """Make this process's own AWS settings those of the stack, whatever they were.

        For parts that read the standard settings (pynamodb, the storage code): none of the user's settings is left,
        so that nothing here can reach an AWS account.
        """
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            del os.environ[name]
        os.environ.update(self.environment())
