"""What the provider is set up with."""

from pydantic import BaseModel, Field, SecretStr


class AcmeConfig(BaseModel):
    """An account at Acme."""

    token: SecretStr = Field(description="The account's API token.")
    sender: str = Field(description="The number messages come from, as +15550100.")
