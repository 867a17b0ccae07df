"""`make pictures`: draws the dashboards from what `make watch` has recorded, into build/pictures.

A Prometheus serves the recording; Grafana's own panels (npm, @grafana/ui) ask it in a headless Chromium, which takes
the picture. Look at them: that is what they are for.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.observability.prometheus import RATE_INTERVAL, Prometheus, hurried
from tests.observability.watch import FOLDER as RECORDING
from tests.observability.watch import STORY
from tests.support.dashboards.files import documents
from tests.support.operations_tables import PROJECT, RULES
from tests.support.processes import ProcessError

HERE = Path(__file__).with_name("panels")
FOLDER = PROJECT / "build" / "pictures"
WIDTH = 1_600
ROW_PIXELS = 38
TOP_PIXELS = 64
DRAWING_MS = 60_000
# What a library says in every console.
ADVERTISEMENT = "i18next is made possible"
CHROMIUM_TIMEOUT_SECONDS = 180
# The stream dashboard is of one stream.
CHOSEN = {"stream": "clicks"}
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>drawing</title>
<link rel="stylesheet" href="draw.css">
<body style="margin: 0"><div id="picture"></div>
<script>window.PICTURE = {settings}</script>
<script src="draw.js"></script></body></html>
"""


def bundle() -> None:
    """Bundle Grafana's panels and what draws them."""
    program = HERE / "node_modules" / ".bin" / "esbuild"
    arguments = ["draw.jsx", "--bundle", "--minify", "--jsx=automatic", f"--outfile={FOLDER / 'draw.js'}"]
    arguments += ["--loader:.svg=text", "--loader:.ttf=empty", '--define:process.env.NODE_ENV="production"']
    arguments += ["--alias:react-custom-scrollbars-2=./scrollbars.js", "--log-level=error"]
    subprocess.run([str(program), *arguments], cwd=HERE, check=True)  # noqa: S603 - the arguments are our own


def draw(name: str, dashboard: dict[str, Any], settings: dict[str, Any]) -> None:
    """Draw one dashboard.

    Raises:
        ProcessError: the page complained, or no picture came.
    """
    page, picture = FOLDER / f"{name}.html", FOLDER / f"{name}.png"
    picture.unlink(missing_ok=True)
    page.write_text(PAGE.replace("{settings}", json.dumps({**settings, "dashboard": dashboard})), encoding="utf-8")
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"])
    chromium = shutil.which("chromium")
    if chromium is None:
        raise ProcessError("no chromium found: apt-get install chromium")
    arguments = [
        chromium,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--enable-logging=stderr",
    ]
    arguments += [f"--window-size={WIDTH},{TOP_PIXELS + rows * ROW_PIXELS}", f"--virtual-time-budget={DRAWING_MS}"]
    arguments += [f"--screenshot={picture}", f"--user-data-dir={FOLDER / 'chromium'}", page.as_uri()]
    result = subprocess.run(  # noqa: S603 - the arguments are our own
        arguments, capture_output=True, text=True, timeout=CHROMIUM_TIMEOUT_SECONDS, check=False
    )
    complaints = [line for line in result.stderr.splitlines() if ":CONSOLE" in line and ADVERTISEMENT not in line]
    for line in complaints:
        print(line[:400])  # noqa: T201 - the report
    if not picture.exists():
        raise ProcessError(f"chromium took no picture of {name}:\n{result.stderr[-2000:]}")
    print(f"{picture.relative_to(PROJECT)}: {len(complaints)} complaints in the console")  # noqa: T201 - as above


def main() -> None:
    """Draw every dashboard, dark and light."""
    if not STORY.exists():
        raise ProcessError("nothing has been recorded yet: make watch")
    FOLDER.mkdir(parents=True, exist_ok=True)
    story = json.loads(STORY.read_text(encoding="utf-8"))
    bundle()
    with Prometheus(RECORDING, {}, hurried(RULES.read_text(encoding="utf-8"))) as prometheus:
        settings = {
            "prometheus": prometheus.url,
            "start": story["started_at"],
            "end": story["ended_at"],
            "rateInterval": RATE_INTERVAL,
            "chosen": CHOSEN,
            "width": WIDTH,
        }
        for path, dashboard in documents().items():
            for theme in ("dark", "light"):
                draw(f"{path.stem}-{theme}", dashboard, {**settings, "theme": theme})
    shutil.rmtree(FOLDER / "chromium", ignore_errors=True)


if __name__ == "__main__":
    try:
        main()
    except ProcessError as error:
        sys.exit(str(error))
