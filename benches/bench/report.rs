//! One report: Markdown for people, a JSON line per figure for the history.

use std::fmt::Write as _;

use crate::Options;
use varve_rig::http::Client;

/// Figures of one benchmark.
#[derive(Debug)]
pub(crate) struct Table {
    text: String,
    json: String,
    bench: &'static str,
}

impl Table {
    pub(crate) fn new(bench: &'static str, options: &Options) -> Self {
        let mut text = String::new();
        let _ = writeln!(
            text,
            "## {bench}: TSBS cpu-only, {} hosts x {} h, seed {}, batch {}, {} workers, loader on the box\n",
            options.hosts, options.hours, options.seed, options.batch, options.workers
        );
        let _ = writeln!(text, "varve {}, {} CPUs\n", env!("CARGO_PKG_VERSION"), cpus());
        text.push_str("| figure | value | unit |\n|---|---:|---|\n");
        Self { text, json: String::new(), bench }
    }

    pub(crate) fn row(&mut self, figure: &str, value: f64, unit: &str) {
        let digits = if value.abs() >= 100.0 { 0 } else { 3 };
        let _ = writeln!(self.text, "| {figure} | {value:.digits$} | {unit} |");
        let line = serde_json::json!({"bench": self.bench, "figure": figure, "value": value, "unit": unit});
        let _ = writeln!(self.json, "{line}");
    }

    pub(crate) fn render(self) -> String {
        format!("{}\n```json\n{}```", self.text, self.json)
    }
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(0, usize::from)
}

/// Stage, rows and CPU nanoseconds from `/metrics`, stages that ran only.
pub(crate) fn stages(client: &mut Client) -> Result<Vec<(String, u64, f64)>, String> {
    let (_, text) = client.get("/metrics")?;
    let value = |name: &str, stage: &str| metric(&text, &format!("{name}_total{{stage=\"{stage}\"}}"));
    let stages =
        text.lines().filter_map(|line| line.strip_prefix("varve_stage_rows_total{stage=\"")?.split('"').next());
    Ok(stages
        .map(|stage| {
            (stage.to_owned(), value("varve_stage_rows", stage) as u64, value("varve_stage_cpu_seconds", stage) * 1e9)
        })
        .filter(|(_, rows, nanos)| *rows > 0 || *nanos > 0.0)
        .collect())
}

/// The value of a metric by its name with labels, 0 when it is absent.
pub(crate) fn metric(text: &str, name: &str) -> f64 {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or(0.0)
}
