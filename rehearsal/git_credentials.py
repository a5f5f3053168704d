"""Git credential helper for CodeCommit, like `aws codecommit credential-helper`, but for any host.

The password is a Signature Version 4 of "GIT <path>" and the host without its port
(awscli/customizations/codecommit.py, and github.com/aws/git-remote-codecommit). git calls the helper with get, store or
erase; there is nothing to store or to erase.
"""

import datetime
import sys
from urllib.parse import quote

import botocore.session
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest


def answer(fields: dict[str, str]) -> str:
    """Return the username and password lines that git reads, signed with the environment's AWS keys for its region.

    `fields` are git's: protocol, host, path. Raises KeyError for a missing one, ValueError without AWS credentials.
    """
    session = botocore.session.get_session()
    credentials = session.get_credentials()
    if credentials is None:
        raise ValueError("there are no AWS credentials: export AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    region = session.get_config_variable("region")
    signer = SigV4Auth(credentials.get_frozen_credentials(), "codecommit", region)
    request = AWSRequest("GIT", f"{fields['protocol']}://{fields['host']}/{fields['path']}")
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S")
    request.context["timestamp"] = stamp
    path, host = quote("/" + fields["path"]), fields["host"].split(":")[0]
    # The canonical request: method, path, empty query, the only header, its name, and no payload hash.
    text = signer.string_to_sign(request, f"GIT\n{path}\n\nhost:{host}\n\nhost\n")
    token = f"%{credentials.token}" if credentials.token else ""
    return f"username={credentials.access_key}{token}\npassword={stamp}Z{signer.signature(text, request)}\n"


def main() -> int:
    if sys.argv[1:] != ["get"]:
        return 0
    fields = dict(line.rstrip("\n").split("=", 1) for line in sys.stdin if "=" in line)
    try:
        sys.stdout.write(answer(fields))
    except (KeyError, ValueError) as error:
        print(f"error: no git credentials for {fields.get('host')}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
