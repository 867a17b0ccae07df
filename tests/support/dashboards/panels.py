"""What the Grafana dashboards are built of, so that all panels keep the same habits.

Each panel has a title, a description that says what to make of it, and a unit; asks the data source that the viewer
chose, for the jobs and instances that the viewer chose; and rates are over `$__rate_interval`.

Source: Grafana's dashboard JSON model, schema version 41 (Grafana 12).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS = 24
GREEN, YELLOW, ORANGE, RED, BLUE, PURPLE = "green", "yellow", "orange", "red", "blue", "purple"

Json = dict[str, Any]
Thresholds = tuple[tuple[float | None, str], ...]


@dataclass(frozen=True, slots=True)
class Query:
    """One expression, and what its series are called: plain text, or a template of their labels."""

    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel.

    Args:
        title: short.
        description: what to make of it.
        unit: one of Grafana's.
        queries: what is shown.
        kind: timeseries, stat or table.
        width: in columns, of 24.
        height: in rows of 30 pixels.
        thresholds: from which value on it has which color; the first from nothing. A dashed line in a timeseries.
        colors: of series by name, or by a regular expression between slashes.
        limits: names of series that are limits: dashed, and nothing below them filled.
        stacked: whether series are parts of a whole.
        maximum: of the axis; None lets the data decide.
        columns: of a table: the labels to show and what they are called.
        decimals: None lets Grafana decide.
        no_value: what a stat says where there is nothing.
    """

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    kind: str = "timeseries"
    width: int = 8
    height: int = 8
    thresholds: Thresholds = ()
    colors: dict[str, str] = field(default_factory=dict)
    limits: tuple[str, ...] = ()
    stacked: bool = False
    maximum: float | None = None
    columns: dict[str, str] = field(default_factory=dict)
    decimals: int | None = None
    no_value: str | None = None


def stat(
    title: str,
    description: str,
    unit: str,
    expr: str,
    thresholds: Thresholds = (),
    *,
    no_value: str | None = None,
) -> Panel:
    """Return a panel of one number; see `Panel`. Without a unit it is a whole number."""
    return Panel(
        title,
        description,
        unit,
        (Query(expr, title),),
        kind="stat",
        width=4,
        height=4,
        thresholds=thresholds,
        decimals=0 if unit == "locale" else None,
        no_value=no_value,
    )


@dataclass(frozen=True, slots=True)
class Row:
    """A titled row of panels."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One dashboard.

    Args:
        uid: stable, so that links to it stay.
        title: as listed.
        description: whom it serves.
        rows: from the top.
        variables: beside data source, job and instance.
    """

    uid: str
    title: str
    description: str
    rows: tuple[Row, ...]
    variables: tuple[Json, ...] = ()


def variable(name: str, label: str, query: str, *, several: bool = True) -> Json:
    """Return a variable whose values are a label's."""
    everything = {"selected": True, "text": ["All"], "value": ["$__all"]} if several else {}
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": several,
        "includeAll": several,
        "current": everything,
        "options": [],
        "regex": "",
        "hide": 0,
    }


def document(dashboard: Dashboard) -> Json:
    """Return a dashboard as Grafana reads it."""
    job = variable("job", "Job", "label_values(kinesis_proxy_build_info, job)")
    instance = variable("instance", "Instance", 'label_values(kinesis_proxy_build_info{job=~"$job"}, instance)')
    source = {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "refresh": 1,
        "regex": "",
        "hide": 0,
        "multi": False,
        "includeAll": False,
        "current": {},
        "options": [],
    }
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": ["kinesis-proxy"],
        "schemaVersion": 41,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,  # one moment is pointed at in all panels
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [source, job, instance, *dashboard.variables]},
        "annotations": {"list": [_firing_alerts()]},
        "links": [_links()],
        "panels": _laid_out(dashboard.rows),
    }


def _firing_alerts() -> Json:
    return {
        "name": "Firing alerts",
        "datasource": DATASOURCE,
        "enable": True,
        "iconColor": RED,
        "expr": 'ALERTS{alertname=~"KinesisProxy.*", alertstate="firing"}',
        "titleFormat": "{{alertname}}",
        "textFormat": "{{instance}} {{stream}}",
    }


def _links() -> Json:
    return {
        "title": "kinesis-proxy",
        "type": "dashboards",
        "tags": ["kinesis-proxy"],
        "asDropdown": False,
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
        "icon": "external link",
        "tooltip": "",
        "url": "",
    }


def _laid_out(rows: tuple[Row, ...]) -> list[Json]:
    """Number the panels and place them, each row's from left to right as far as there is room."""
    panels: list[Json] = []
    y = 0
    for row in rows:
        place = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
        panels.append(
            {
                "id": len(panels) + 1,
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "gridPos": place,
                "panels": [],
            }
        )
        x, y, height = 0, y + 1, 0
        for panel in row.panels:
            if x + panel.width > COLUMNS:
                x, y, height = 0, y + height, 0
            place = {"x": x, "y": y, "w": panel.width, "h": panel.height}
            panels.append({"id": len(panels) + 1, "gridPos": place, **_panel(panel)})
            x, height = x + panel.width, max(height, panel.height)
        y += height
    return panels


def _panel(panel: Panel) -> Json:
    instant = panel.kind == "table"
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "datasource": DATASOURCE,
                "editorMode": "code",
                "expr": query.expr,
                "legendFormat": query.legend,
                "range": not instant,
                "instant": instant,
                **({"format": "table"} if instant else {}),
            }
            for place, query in enumerate(panel.queries)
        ],
        "fieldConfig": {"defaults": _field_defaults(panel), "overrides": _overrides(panel)},
        "options": _OPTIONS[panel.kind],
        **({"transformations": [_columns(panel)]} if panel.columns else {}),
    }


def _field_defaults(panel: Panel) -> Json:
    steps = panel.thresholds or ((None, GREEN),)
    defaults: Json = {
        "unit": panel.unit,
        "color": {"mode": "palette-classic" if panel.kind == "timeseries" else "thresholds"},
        "thresholds": {"mode": "absolute", "steps": [{"value": value, "color": color} for value, color in steps]},
        "mappings": [],
    }
    if panel.decimals is not None:
        defaults["decimals"] = panel.decimals
    if panel.no_value is not None:
        defaults["noValue"] = panel.no_value
    if panel.kind == "timeseries":
        defaults["min"] = 0
        if panel.maximum is not None:
            defaults["max"] = panel.maximum
        defaults["custom"] = _drawn(panel)
    return defaults


def _drawn(panel: Panel) -> Json:
    return {
        "drawStyle": "line",
        "lineInterpolation": "linear",
        "lineWidth": 1,
        "fillOpacity": 40 if panel.stacked else 8,
        "gradientMode": "none",
        "showPoints": "never",
        "pointSize": 5,
        "spanNulls": False,
        "axisPlacement": "auto",
        "axisLabel": "",
        "scaleDistribution": {"type": "linear"},
        "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "dashed" if panel.thresholds else "off"},
    }


def _overrides(panel: Panel) -> list[Json]:
    properties: dict[str, list[Json]] = {name: [] for name in (*panel.colors, *panel.limits)}
    for name, color in panel.colors.items():
        properties[name].append({"id": "color", "value": {"mode": "fixed", "fixedColor": color}})
    for name in panel.limits:
        properties[name].append({"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [10, 10]}})
        properties[name].append({"id": "custom.fillOpacity", "value": 0})
    return [
        {"matcher": {"id": "byRegexp" if name.startswith("/") else "byName", "options": name}, "properties": each}
        for name, each in properties.items()
    ]


def _columns(panel: Panel) -> Json:
    """Show some labels as columns, by other names, and nothing else."""
    return {
        "id": "organize",
        "options": {
            "includeByName": dict.fromkeys(panel.columns, True),
            "indexByName": {name: place for place, name in enumerate(panel.columns)},
            "renameByName": panel.columns,
        },
    }


_OPTIONS: dict[str, Json] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {
        "colorMode": "value",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "textMode": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    },
    "table": {"showHeader": True, "cellHeight": "sm"},
}
