"""Sign git's requests to CodeCommit, as a credential helper of git: python git_credentials.py get

Does what `aws codecommit credential-helper` does (docs.aws.amazon.com/codecommit/latest/userguide/setting-up-https-unixes.html)
with the credentials that botocore finds, on any host, so that nobody needs the AWS CLI to look around in a rehearsal. The
request "GIT <path>" is signed with Signature Version 4; the access key is the user's name, time and signature the password.
"""

import sys

import botocore.session
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest


def sign(fields: dict[str, str]) -> tuple[str, str]:
    """Return user name and password for protocol, host and path that git asks about."""
    session = botocore.session.get_session()
    credentials = session.get_credentials().get_frozen_credentials()
    auth = SigV4Auth(credentials, "codecommit", session.get_config_variable("region"))
    host, path = fields["host"].split(":")[0], f"/{fields['path']}"
    request = AWSRequest("GIT", f"{fields['protocol']}://{host}{path}")
    request.context["timestamp"] = timestamp = botocore.auth.get_current_datetime().strftime("%Y%m%dT%H%M%S")
    signature = auth.signature(auth.string_to_sign(request, f"GIT\n{path}\n\nhost:{host}\n\nhost\n"), request)
    token = f"%{credentials.token}" if credentials.token else ""
    return f"{credentials.access_key}{token}", f"{timestamp}Z{signature}"


def main(arguments: list[str]) -> None:
    """Print the credentials for `get`; there is nothing to store or to erase."""
    if arguments != ["get"]:
        return
    fields = dict(line.rstrip("\n").split("=", 1) for line in sys.stdin if "=" in line)
    username, password = sign(fields)
    print(f"username={username}\npassword={password}")


if __name__ == "__main__":
    main(sys.argv[1:])
