//! A report for other programs: CSV and JSON.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, Result};
use polars_core::prelude::{AnyValue, PolarsResult};
use record::metric::Direction;
use record::statistics::mean;
use record::{Design, Row, Status};
use serde_json::json;

use crate::comparison::Comparison;
use crate::sheet::{Sheet, State};
use crate::summary::Summary;

/// [`Sheet::frame`] as CSV.
pub fn csv(sheet: &Sheet<'_>) -> Result<String> {
    let frame = sheet.frame()?;
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(frame.get_column_names().iter().map(|name| name.as_str()))?;
    for index in 0..frame.height() {
        let text = |value: AnyValue<'_>| match value {
            AnyValue::Null => String::new(),
            AnyValue::String(text) => text.to_owned(),
            AnyValue::Float64(number) => number.to_string(),
            other => other.to_string(),
        };
        let row = frame.columns().iter().map(|column| Ok(text(column.get(index)?)));
        writer.write_record(row.collect::<PolarsResult<Vec<_>>>()?)?;
    }
    Ok(String::from_utf8(writer.into_inner().context("rows")?)?)
}

/// One JSON object a line for each view of a cell on each test set: its state, and values by metric under the metrics'
/// identifiers, in their units.
pub fn json_lines(design: &Design, summary: &Summary, rows: &[Row]) -> String {
    let mut text = String::new();
    for cell in rows.chunk_by(|a, b| a.view() == b.view() && a.test_set == b.test_set) {
        let first = &cell[0];
        let Row { attack, defense, seed, trigger, epoch, test_set, .. } = first;
        let mut value = json!({
            "attack": attack, "defense": defense, "seed": seed, "trigger": trigger,
        });
        if let Some(epoch) = epoch {
            value["epoch"] = (*epoch).into();
        }
        if first.status == Status::Measured {
            let metrics: BTreeMap<&str, Option<f64>> =
                cell.iter().map(|row| (row.metric.as_str(), row.value)).collect();
            let implanted = !summary.not_implanted(design, attack, defense);
            value["state"] = if implanted { "measured" } else { "not implanted" }.into();
            value["test_set"] = test_set.clone().into();
            value["metrics"] = json!(metrics);
            value["evidence"] = first.evidence.clone().into();
        } else {
            let state = if first.status == Status::Failed { State::Failed } else { State::Skipped };
            value["state"] = state.name().into();
            value["message"] = first.message.clone().into();
        }
        let _ = writeln!(text, "{value}");
    }
    text
}

/// One JSON object a line for each comparison with the defense `against`: differences are fractions, p-values exact.
pub fn compared_json(compared: &[Comparison], against: &str) -> String {
    let line = |row: &Comparison| {
        json!({
            "defense": row.defense, "against": against, "quantity": row.quantity,
            "better": if row.better == Direction::Higher { "higher" } else { "lower" },
            "differences": row.differences, "left_out": row.left_out, "mean": mean(&row.differences),
            "interval": row.interval, "sign_p": row.sign, "wilcoxon_p": row.wilcoxon, "corrected_p": row.corrected,
            "supported": row.supported(),
        })
    };
    compared.iter().map(|row| format!("{}\n", line(row))).collect()
}
