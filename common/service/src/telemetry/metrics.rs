//! The process's metrics in the text format of Prometheus.

use std::fmt::Write as _;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::cache::{self, Cache, Lookup};
use super::requests::{self, Verb};
use super::running::{self, Work};
use super::stage::{self, Stage};

/// Media type of the page.
pub const CONTENT_TYPE_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The registry of one node. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Mutex<Registry>>);

impl Metrics {
    /// Registers metrics while holding the registry.
    pub fn register(&self, register: impl FnOnce(&mut Registry)) {
        register(&mut self.0.lock());
    }

    /// All metrics in the OpenMetrics text format, the static counters first.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for (name, help, value) in [
            ("varve_stage_rows", "Rows that passed a stage", 0),
            ("varve_stage_bytes", "Bytes that passed a stage", 1),
            ("varve_stage_cpu_seconds", "Thread CPU time spent in a stage", 2),
        ] {
            let _ = writeln!(text, "# HELP {name} {help}.\n# TYPE {name} counter");
            for stage in Stage::ALL {
                let totals = stage::totals(stage);
                let value = match value {
                    0 => totals.rows.to_string(),
                    1 => totals.bytes.to_string(),
                    _ => format!("{:.9}", totals.cpu.as_secs_f64()),
                };
                let _ = writeln!(text, "{name}_total{{stage=\"{}\"}} {value}", stage.name());
            }
        }
        let name = "varve_datanode_requests";
        let _ = writeln!(text, "# HELP {name} Requests that the datanode took.\n# TYPE {name} counter");
        for verb in Verb::ALL {
            let _ = writeln!(text, "{name}_total{{verb=\"{}\"}} {}", verb.name(), requests::total(verb));
        }
        let name = "varve_cache_lookups";
        let _ = writeln!(text, "# HELP {name} Look-ups in a cache.\n# TYPE {name} counter");
        for (cache, lookup) in Cache::ALL.into_iter().flat_map(|cache| Lookup::ALL.map(|lookup| (cache, lookup))) {
            let (label, outcome, total) = (cache.name(), lookup.name(), cache::total(cache, lookup));
            let _ = writeln!(text, "{name}_total{{cache=\"{label}\",outcome=\"{outcome}\"}} {total}");
        }
        let name = "varve_running";
        let _ = writeln!(text, "# HELP {name} What runs now.\n# TYPE {name} gauge");
        for work in Work::ALL {
            let _ = writeln!(text, "{name}{{work=\"{}\"}} {}", work.name(), running::now(work));
        }
        if encode(&mut text, &self.0.lock()).is_err() {
            // Writing to a String cannot fail; a metric that cannot be encoded ends the page.
            text.push_str("# EOF\n");
        }
        text
    }
}
