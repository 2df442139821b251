"""The S3 and R2 keys of an environment, as they travel from the settings to who signs. No behaviour.

Apart from `core.s3`, for every verb reads the settings, and few need the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from asyncdl.core.secret import Secret


@dataclass(frozen=True, slots=True)
class KeyPair:
    key_id: str
    secret: Secret
    session_token: Secret | None = None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class S3Keys:
    """What the environment says, as it says it; '' or None where it says nothing. Judged when a bucket is asked for.

    aws_unsigned: AWS_NO_SIGN_REQUEST. Without aws_key_id and aws_secret AWS's own chain (files, metadata) is asked.
    repr tells what is set, not to what: an endpoint may hold a password.
    """

    r2_endpoint: str = ""
    r2_account_id: str = ""
    r2_key_id: str = ""
    r2_secret: Secret | None = None
    aws_endpoint: str = ""
    aws_region: str = ""
    aws_key_id: str = ""
    aws_secret: Secret | None = None
    aws_session_token: Secret | None = None
    aws_unsigned: bool = False

    def __repr__(self) -> str:
        return f"<{' '.join(field.name for field in fields(self) if getattr(self, field.name)) or 'nothing set'}>"
