"""In a real browser, a web page that the user opens can neither call the emulator nor read from it."""

import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rehearsal.server import ACCOUNT, Emulator

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium here: apt-get install chromium")

# The browser has no screen, and must make no requests of its own.
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --virtual-time-budget=20000 --dump-dom"
).split()
TEMPLATE = "Resources: {Topic: {Type: 'AWS::SNS::Topic', Properties: {TopicName: made-by-a-page}}}"
PAGE = """<!doctype html><title>page</title><pre id=seen></pre><script>
const aws = "AWS", keys = KEYS, seen = document.getElementById("seen");
const stack = "Action=CreateStack&Version=2010-05-15&StackName=by-a-page&TemplateBody=" + encodeURIComponent(TEMPLATE);
const scope = (key, service) => "?" + new URLSearchParams({"X-Amz-Algorithm": "AWS4-HMAC-SHA256",
  "X-Amz-Credential": key + "/20260101/us-east-1/" + service + "/aws4_request", "X-Amz-Date": "20260101T000000Z",
  "X-Amz-SignedHeaders": "host", "X-Amz-Signature": "0".repeat(64)});
async function attempt(name, address, options) {
  try {
    const response = await fetch(address, options);
    seen.append(name + ": " + (response.type === "opaque" ? "opaque" : "read " + (await response.text()).slice(0, 80)) + "\\n");
  } catch (error) { seen.append(name + ": " + error.name + "\\n"); }
}
(async () => {
  await attempt("control", "/control.txt", {});
  const form = {"Content-Type": "application/x-www-form-urlencoded"};
  for (const key of keys) {
    await attempt("simple " + key, aws + "/" + scope(key, "cloudformation"), {method: "POST", mode: "no-cors", headers: form, body: stack});
    await attempt("text " + key, aws + "/" + scope(key, "cloudformation"), {method: "POST", mode: "no-cors", body: stack});
    await attempt("header " + key, aws + "/", {method: "POST", body: stack, headers: {...form,
      "Authorization": "AWS4-HMAC-SHA256 Credential=" + key + "/20260101/us-east-1/cloudformation/aws4_request, SignedHeaders=host, Signature=0"}});
    await attempt("read " + key, aws + "/secret-of-tests/key" + scope(key, "s3"), {});
    await attempt("rebound " + key, aws.replace("127.0.0.1", "rebound.example") + "/" + scope(key, "cloudformation"), {method: "POST", mode: "no-cors", headers: form, body: stack});
  }
  await attempt("reset", aws + "/_ministack/reset", {method: "POST", mode: "no-cors"});
  await attempt("interrupt", aws + "/rehearsal/spot-interruptions", {method: "POST", mode: "no-cors", body: '{"NameContains": ""}'});
  seen.append("done");
})();
</script>"""


@pytest.fixture
def page(emulator, tmp_path) -> Iterator[str]:
    """Yield the URL of a page of another origin, which tries to call the emulator."""
    text = PAGE.replace('"AWS"', f'"{emulator.endpoint}"', 1).replace("KEYS", f'["test", "{ACCOUNT}"]', 1)
    (tmp_path / "index.html").write_text(text.replace("TEMPLATE", f"`{TEMPLATE}`", 1))
    (tmp_path / "control.txt").write_text("the page runs")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


def look_at(address: str, folder: Path) -> str:
    """Open an address in a headless browser; return what its scripts wrote into <pre id="seen">."""
    rebound = "--host-resolver-rules=MAP rebound.example 127.0.0.1"
    command = [BROWSER, *FLAGS, rebound, f"--user-data-dir={folder}", address]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    return done.stdout.partition('<pre id="seen">')[2].partition("</pre>")[0]


def test_a_page_of_another_origin_runs_and_reads_nothing(emulator: Emulator, page, tmp_path_factory):
    s3 = emulator.client("s3")
    s3.create_bucket(Bucket="secret-of-tests")
    s3.put_object(Bucket="secret-of-tests", Key="key", Body=b"secret")

    seen = dict(
        line.split(": ", 1) for line in look_at(page, tmp_path_factory.mktemp("browser")).splitlines() if ": " in line
    )

    stacks = [stack["StackName"] for stack in emulator.client("cloudformation").list_stacks()["StackSummaries"]]
    assert seen.pop("control") == "read the page runs"
    assert len(seen) == 12
    # Either the browser blocks the call, or the page cannot read the response to a no-cors request.
    assert set(seen.values()) <= {"TypeError", "opaque"}
    assert "by-a-page" not in stacks
    assert s3.get_object(Bucket="secret-of-tests", Key="key")["Body"].read() == b"secret"
