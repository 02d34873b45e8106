//! The figures of the demo: one row per step.
//!
//! Owns the table and its JSON. Invariant: a row holds only what was measured in its step.
//! Does not measure: `demo` does.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets::UTF8_BORDERS_ONLY};
use serde::Serialize;

/// What one step took.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) step: String,
    pub(crate) wall_s: f64,
    pub(crate) wire_len: u64,
    pub(crate) changed_count: u64,
    pub(crate) window_ms: Vec<f64>,
}

/// All steps and what else was measured.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) version: u32,
    pub(crate) steps: Vec<Row>,
    pub(crate) idle_poll_len: u64,
    pub(crate) one_file_control_len: u64,
    pub(crate) total_s: f64,
}

impl Report {
    pub(crate) fn add(&mut self, step: &str, wall: Duration, wire_len: u64, changed_count: u64, window_us: &[u64]) {
        self.steps.push(Row {
            step: step.to_owned(),
            wall_s: wall.as_secs_f64(),
            wire_len,
            changed_count,
            window_ms: window_us.iter().map(|us| *us as f64 / 1000.0).collect(),
        });
    }

    pub(crate) fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(UTF8_BORDERS_ONLY);
        table.set_header(["STEP", "WALL s", "WIRE MB", "CHANGED", "WINDOW ms"]);
        for row in &self.steps {
            let windows: Vec<String> = row.window_ms.iter().map(|ms| format!("{ms:.1}")).collect();
            let dash = |text: String, is_shown: bool| if is_shown { text } else { "-".to_owned() };
            table.add_row([
                row.step.clone(),
                format!("{:.1}", row.wall_s),
                format!("{:.3}", row.wire_len as f64 / 1e6),
                dash(row.changed_count.to_string(), row.changed_count > 0),
                dash(windows.join(" "), !windows.is_empty()),
            ]);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table.to_string()
    }
}
