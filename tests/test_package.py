"""Packages: equal sources give equal bytes, objects are named by their hash, and the stamped templates lint."""

import io
import os
import subprocess
import sys
import zipfile

import pytest

from build import ROOT, VARIANTS
from build.assemble import assemble
from build.package import offering, package, stamped, zipped
from build.publish import plan, publish


@pytest.fixture(scope="module")
def built():
    return package("bundle-of-tests")


def test_packaged_twice_it_is_the_same(built):
    assert package("bundle-of-tests") == built


def test_each_variant_is_a_product_with_its_title_and_template(built):
    text = built.objects[built.portfolio].decode()

    assert text.count("Key: sagemaker:studio-visibility") == len(VARIANTS) == len(built.projects)
    for variant in VARIANTS.values():
        assert f"Name: '{variant.title}'" in text
        assert f"{variant.logical_id}ProductId:" in text
        assert f"/{built.projects[variant.name]}'" in text
    assert "ariant title" not in text


def test_a_zip_depends_on_names_and_contents_alone():
    assert zipped({"b": b"2", "a": b"1"}) == zipped({"a": b"1", "b": b"2"})


def test_the_seed_lands_from_its_zip_as_assembled(built):
    key = next(key for key in built.objects if key.startswith("seeds/cv"))
    with zipfile.ZipFile(io.BytesIO(built.objects[key])) as archive:
        landed = {name: archive.read(name) for name in archive.namelist()}

    assert landed == assemble("cv")
    assert len(built.objects[key]) < 20 * 2**20  # CodeCommit's limit


def test_the_functions_import_from_their_zip_alone(built, tmp_path):
    key = next(key for key in built.objects if key.startswith("functions/"))
    zipfile.ZipFile(io.BytesIO(built.objects[key])).extractall(tmp_path)

    code = "import execute_pipeline, deploy_model, project_lifecycle, sys; print(execute_pipeline.__file__)"
    platform = {**os.environ, "PYTHONPATH": str(ROOT / "rehearsal/runtime")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=platform, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == str(tmp_path / "execute_pipeline.py")
    assert len(built.objects[key]) < 5 * 2**20


def test_stamped_templates_have_no_finding(built, tmp_path):
    for key, content in built.objects.items():
        if key.startswith("templates/"):
            (tmp_path / key.split("/")[1]).write_bytes(content)
    paths = sorted(map(str, tmp_path.iterdir()))

    done = subprocess.run(["cfn-lint", *paths], capture_output=True, text=True, check=False)

    assert len(paths) == 3
    assert (done.returncode, done.stdout) == (0, "")


def test_a_stamp_that_the_template_does_not_have_is_an_error():
    with pytest.raises(ValueError, match="portfolio.yaml: the mapping Bundle has .*, not Variant"):
        stamped("portfolio.yaml", {"Variant": "cv"})


def test_a_portfolio_in_which_a_variant_has_no_artifact_is_an_error(built):
    with pytest.raises(ValueError, match=f"portfolio.yaml: 0 provisioning artifacts for {len(VARIANTS)} variants"):
        offering("Resources: {}\n", built.releases)


def test_a_name_that_no_bucket_can_have_is_an_error():
    with pytest.raises(ValueError, match="'My Bucket' is not a bucket name"):
        package("My Bucket")


def test_what_is_there_is_not_uploaded_again(emulator, built):
    s3 = emulator.client("s3")
    s3.create_bucket(Bucket="bundle-of-tests")

    first, second = publish(s3, built), publish(s3, built)

    assert (sorted(first), second) == (sorted(plan(built, set())), [])
    template = built.projects["nlp"]
    tags = s3.get_object_tagging(Bucket="bundle-of-tests", Key=template)["TagSet"]
    assert tags == [{"Key": "sagemaker:studio-visibility", "Value": "true"}]


def test_a_dry_run_lists_every_object(built):
    done = subprocess.run(
        [sys.executable, "-m", "build", "publish", "--dry-run", "--bucket", "bundle-of-tests"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        f"s3://bundle-of-tests/{key}" for key in built.objects
    ]
