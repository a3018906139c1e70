import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from bitspike.report import write_report
from report_runs import write_run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
)  # fmt: skip


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine to render the report with")
@pytest.mark.parametrize("width", [1200, 390])
def test_the_page_renders(tmp_path, width):
    page = write_report(write_run(tmp_path / "run"))
    picture = tmp_path / "page.png"
    subprocess.run(
        [
            CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'browser'}", f"--window-size={width},4000",
            f"--screenshot={picture}", page.as_uri(),
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.shape[0] == 4000
    # something is drawn in every eighth of the page, and it is colourful where the figures are
    for part in np.split(pixels, 8):
        assert len(np.unique(part.reshape(-1, 3), axis=0)) > 50
    spread = pixels.max(axis=2).astype(int) - pixels.min(axis=2)
    assert (spread > 60).mean() > 0.002
