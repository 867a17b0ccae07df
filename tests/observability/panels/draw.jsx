// Draws a dashboard with Grafana's own panels, from a Prometheus that answers its queries.
//
// What a Grafana server would add is left out: menus, variables that can be changed, descriptions on hover, editing. The page says in its title
// when it is done, and in the console what went wrong.
import { FieldType, ThemeContext, createTheme, dateTime, getDisplayProcessor } from "@grafana/data";
import { BigValue, GlobalStyles, PanelChrome, Table, TimeSeries } from "@grafana/ui";
import { useEffect, useState } from "react";
import { createRoot } from "react-dom/client";

const { dashboard, prometheus, start, end, rateInterval, chosen, theme: mode, width } = window.PICTURE;
const theme = createTheme({ colors: { mode } });
const GAP = 8;
const ROW_HEIGHT = 30;
const range = { from: dateTime(start * 1000), to: dateTime(end * 1000) };
const timeRange = { ...range, raw: range };

function withValues(expr) {
  return expr
    .replaceAll("$__rate_interval", rateInterval)
    .replaceAll("$__range", `${Math.ceil(end - start)}s`)
    .replace(/\$(\w+)/g, (_, name) => chosen[name] ?? ".*");
}

async function ask(target, pixels) {
  const query = { query: withValues(target.expr) };
  const path = target.instant ? "query" : "query_range";
  const when = target.instant ? { time: end } : { start, end, step: Math.max(1, Math.ceil((end - start) / (pixels / 2))) };
  const response = await fetch(`${prometheus}/api/v1/${path}?${new URLSearchParams({ ...query, ...when })}`);
  const answer = await response.json();
  if (answer.status !== "success") {
    throw new Error(`${query.query}: ${answer.error}`);
  }
  return answer.data.result;
}

function matches({ id, options }, name) {
  return id === "byRegexp" ? new RegExp(options.slice(1, -1)).test(name) : options === name;
}

function configure(field, panel, name, seriesIndex) {
  const { defaults, overrides } = panel.fieldConfig;
  const steps = defaults.thresholds.steps.map((step) => ({ ...step, value: step.value ?? -Infinity }));
  field.config = { ...defaults, thresholds: { ...defaults.thresholds, steps }, displayNameFromDS: name };
  for (const override of overrides.filter(({ matcher }) => matches(matcher, name))) {
    for (const { id, value } of override.properties) {
      const [name, inner] = id.split(".");
      field.config[name] = inner ? { ...field.config[name], [inner]: value } : value;
    }
  }
  const numbers = field.values.filter(Number.isFinite);
  const [min, max] = numbers.length ? [Math.min(...numbers), Math.max(...numbers)] : [0, 0];
  field.state = { seriesIndex, range: { min, max, delta: max - min } };
  field.display = getDisplayProcessor({ field, theme });
  return field;
}

function legendOf(template, labels) {
  return template.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, label) => labels[label] ?? "");
}

function seriesFrame(series, target, panel, seriesIndex) {
  const time = { name: "Time", type: FieldType.time, config: {}, values: series.values.map(([at]) => at * 1000) };
  const value = { name: "Value", type: FieldType.number, labels: series.metric, values: series.values.map(([, text]) => Number(text)) };
  const name = legendOf(target.legendFormat, series.metric);
  configure(value, panel, name, seriesIndex);
  return { refId: target.refId, name, length: time.values.length, fields: [time, value] };
}

function Series({ panel, answers, width, height }) {
  const frames = panel.targets.flatMap((target, place) => answers[place].map((series) => [series, target]));
  if (!frames.length) {
    return <Nothing />;
  }
  const drawn = frames.map(([series, target], place) => seriesFrame(series, target, panel, place));
  return (
    <TimeSeries frames={drawn} timeRange={timeRange} timeZone="utc" width={width} height={height} legend={panel.options.legend} />
  );
}

function Stat({ panel, answers, width, height }) {
  const [series] = answers[0];
  if (!series) {
    return <Nothing />;
  }
  const frame = seriesFrame(series, panel.targets[0], panel, 0);
  const field = frame.fields[1];
  const numbers = field.values.filter((value) => !Number.isNaN(value));
  const shown = field.display(numbers.length ? numbers[numbers.length - 1] : null);
  return (
    <BigValue
      value={{ ...shown, title: undefined }}
      sparkline={panel.options.graphMode === "none" ? undefined : { y: field, x: frame.fields[0] }}
      colorMode={panel.options.colorMode}
      graphMode={panel.options.graphMode}
      justifyMode={panel.options.justifyMode}
      textMode="value"
      width={width}
      height={height}
      theme={theme}
    />
  );
}

function Listed({ panel, answers, width, height }) {
  const [{ options }] = panel.transformations;
  const fields = Object.entries(options.renameByName).map(([label, name], place) => {
    const number = label === "Value";
    const values = answers[0].map(({ metric, value }) => (number ? Number(value[1]) : metric[label] ?? ""));
    const field = { name, type: number ? FieldType.number : FieldType.string, values };
    return configure(field, number ? panel : { fieldConfig: { defaults: { thresholds: { steps: [] } }, overrides: [] } }, name, place);
  });
  return <Table data={{ length: answers[0].length, fields }} width={width} height={height} />;
}

function Nothing() {
  return <div style={{ display: "grid", placeItems: "center", height: "100%", color: theme.colors.text.secondary }}>No data</div>;
}

const KINDS = { timeseries: Series, stat: Stat, table: Listed };
let missing = dashboard.panels.filter((panel) => panel.type !== "row").length;

function DrawnPanel({ panel, width, height }) {
  const [answers, setAnswers] = useState(null);
  useEffect(() => {
    Promise.all(panel.targets.map((target) => ask(target, width)))
      .then(setAnswers, (error) => console.error(`${panel.title}: ${error.message}`))
      .finally(() => {
        missing -= 1;
        document.title = missing ? "drawing" : "drawn";
      });
  }, []);
  const Kind = KINDS[panel.type];
  return (
    <PanelChrome title={panel.title} width={width} height={height}>
      {(innerWidth, innerHeight) => answers && <Kind panel={panel} answers={answers} width={innerWidth} height={innerHeight} />}
    </PanelChrome>
  );
}

function Picture() {
  const column = (width - GAP) / 24;
  const place = ({ x, y, w, h }) => ({
    position: "absolute",
    left: GAP + x * column,
    top: 56 + y * (ROW_HEIGHT + GAP),
    width: w * column - GAP,
    height: h * (ROW_HEIGHT + GAP) - GAP,
  });
  return (
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <h3 style={{ position: "absolute", left: 2 * GAP, top: 14 }}>{dashboard.title}</h3>
      {dashboard.panels.map((panel) => {
        const at = place(panel.gridPos);
        return (
          <div key={panel.id} style={at}>
            {panel.type === "row" ? <h5 style={{ paddingTop: 6 }}>{panel.title}</h5> : <DrawnPanel panel={panel} width={at.width} height={at.height} />}
          </div>
        );
      })}
    </ThemeContext.Provider>
  );
}

createRoot(document.getElementById("picture")).render(<Picture />);
