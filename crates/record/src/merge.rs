//! Joins records of one plan from several machines: other seeds, other attacks, other defenses.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use polars_core::prelude::DataFrame;
use serde_json::{Value, json};

use base::NAME;

use crate::cell::{CellId, Row, Status, View};
use crate::columns::{read_parquet, stacked};
use crate::coverage::Coverage;
use crate::difference::{changed, named};
use crate::files::{Record, VIEW, text};
use crate::layout::{DATA, ENVIRONMENT, EVIDENCE, FORMAT, MANIFEST, MAP, PAIRS, PLAN, ROWS};

/// Lists of a plan of which each record may have run a part.
const RUN: [&str; 2] = ["attacks", "defenses"];
/// What changes no value.
const TOLD: [&str; 3] = ["seeds", "question", "expect"];

/// Joins records into one in folder `to`. An error names what makes that impossible: settings that differ, or a cell
/// with other values in another record.
pub fn merge(records: &[Record], to: &Path) -> Result<Record> {
    let [first, others @ ..] = records else { bail!("there is nothing to merge") };
    let mut plan = first.settings()?;
    for other in others {
        join_plans(&mut plan, &other.settings()?, [first, other])?;
    }
    let order = Order::of(&plan)?;
    let joined = Record::create(to)?;
    let is_new = !to.join(ROWS).exists();
    ensure!(is_new, "{} holds a record already; choose another folder with --to", to.display());
    joined.put_rows(rows(records, &order)?)?;
    joined.put(PLAN, serde_yaml::to_string(&plan)?.as_bytes())?;
    for (name, keys) in [(EVIDENCE, &VIEW[..]), (PAIRS, &VIEW[..]), (MAP, &VIEW[..]), (MANIFEST, &VIEW[..2])]
    {
        if let Some(mut table) = tables(records, &order, name, keys)? {
            joined.put_table(name, &mut table)?;
        }
    }
    let data = data(records)?;
    if !data.is_empty() {
        joined.put(DATA, serde_yaml::to_string(&data)?.as_bytes())?;
    }
    let environments = records.iter().map(|record| Ok(serde_yaml::from_str(&record.environment()?)?));
    let environments = environments.collect::<Result<Vec<Value>>>()?;
    let environment = json!({ "format": FORMAT, "program": NAME, "merged": environments });
    joined.put(ENVIRONMENT, serde_yaml::to_string(&environment)?.as_bytes())?;
    joined.seal()?;
    Ok(joined)
}

/// Adds to `plan` what `other` has run besides; an error where the same thing has other settings.
fn join_plans(plan: &mut Value, other: &Value, [first, second]: [&Record; 2]) -> Result<()> {
    for difference in changed(plan, other) {
        let (key, name) = difference.path.split_once('.').unwrap_or((difference.path.as_str(), ""));
        // A whole attack or defense that one of them has not run.
        let is_row =
            |plan: &Value| named(&plan[key]).is_some_and(|rows| rows.iter().any(|(row, _)| row == name));
        let apart = RUN.contains(&key) && is_row(plan) != is_row(other);
        ensure!(
            apart || TOLD.contains(&key),
            "{} and {} are not records of one plan: {difference}",
            first.folder.display(),
            second.folder.display()
        );
    }
    for key in RUN {
        let known: BTreeSet<String> = named(&plan[key]).into_iter().flatten().map(|(name, _)| name).collect();
        let rows = named(&other[key]);
        let rows = rows.with_context(|| format!("{}: {key} without names", second.folder.display()))?;
        let new = rows.into_iter().filter(|(name, _)| !known.contains(name)).map(|(_, row)| row.clone());
        plan[key].as_array_mut().context("a plan without a list")?.extend(new);
    }
    for key in ["seeds", "expect"] {
        let list = plan[key].as_array_mut().context("a plan without a list")?;
        for value in other[key].as_array().into_iter().flatten() {
            if !list.contains(value) {
                list.push(value.clone());
            }
        }
    }
    if let Some(seeds) = plan["seeds"].as_array_mut() {
        seeds.sort_by_key(Value::as_u64);
    }
    Ok(())
}

type Place = (u64, usize, usize, usize);

/// The order of cells in a record: that of its plan.
struct Order {
    attacks: Vec<String>,
    defenses: Vec<String>,
}

impl Order {
    fn of(plan: &Value) -> Result<Self> {
        let names = |key: &str| -> Result<Vec<String>> {
            let rows = named(&plan[key]).with_context(|| format!("{key} without names"))?;
            Ok(rows.into_iter().map(|(name, _)| name).collect())
        };
        Ok(Self { attacks: names("attacks")?, defenses: names("defenses")? })
    }

    /// Where a view stands; what has no defense or trigger, as an edit has none, stands last.
    fn place(&self, seed: u64, [attack, defense, trigger]: [&str; 3]) -> Place {
        let at =
            |names: &[String], name: &str| names.iter().position(|other| other == name).unwrap_or(usize::MAX);
        (seed, at(&self.attacks, attack), at(&self.defenses, defense), at(&self.attacks, trigger))
    }
}

/// Rows of all records in the plan's order, each cell once; of a cell that failed in one and not in another those of
/// the other.
fn rows(records: &[Record], order: &Order) -> Result<Vec<Row>> {
    let mut groups: BTreeMap<View, (Vec<Row>, &Record)> = BTreeMap::new();
    let mut measured: BTreeSet<CellId> = BTreeSet::new();
    for record in records {
        let rows = record.rows()?;
        for group in rows.chunk_by(|a, b| a.view() == b.view()) {
            let view = group[0].view();
            if group[0].status == Status::Measured {
                measured.insert(view.cell.clone());
            }
            match groups.get(&view) {
                Some((known, other)) if known[0].status == Status::Measured => {
                    agree(known, group, [other, record])?;
                }
                _ => {
                    groups.insert(view, (group.to_vec(), record));
                }
            }
        }
    }
    let mut all: Vec<_> = groups.into_iter().collect();
    all.sort_by_key(|(View { cell, trigger, epoch }, _)| {
        let place = order.place(cell.seed, [&cell.attack, &cell.defense, trigger]);
        (place, epoch.unwrap_or(usize::MAX))
    });
    let rows = all.into_iter().flat_map(|(_, (rows, _))| rows);
    Ok(rows.filter(|row| row.status == Status::Measured || !measured.contains(&row.cell())).collect())
}

/// An error where two records have other values of one cell.
fn agree(known: &[Row], group: &[Row], [first, second]: [&Record; 2]) -> Result<()> {
    for row in group.iter().filter(|row| row.status == Status::Measured) {
        let same = |other: &&Row| (&other.test_set, &other.metric) == (&row.test_set, &row.metric);
        if let Some(other) = known.iter().find(same).filter(|other| other.value != row.value) {
            let said = |row: &Row, record: &Record| {
                let value = row.value.map_or_else(|| "nothing".to_owned(), |value| value.to_string());
                format!("{value} in {}", record.folder.display())
            };
            let (known, found) = (said(other, first), said(row, second));
            bail!("{}: {} on {} is {known} and {found}", row.view(), row.metric, row.test_set);
        }
    }
    Ok(())
}

/// One table of all records, what belongs to one model once; `None` where no record has it.
fn tables(records: &[Record], order: &Order, name: &str, keys: &[&str]) -> Result<Option<DataFrame>> {
    let mut parts: BTreeMap<Place, DataFrame> = BTreeMap::new();
    for record in records {
        let path = record.folder.join(name);
        if !path.is_file() {
            continue;
        }
        let named = || path.display().to_string();
        let frame = read_parquet(&path)?;
        if frame.height() == 0 {
            continue;
        }
        for part in frame.partition_by_stable(keys.iter().copied(), true).with_context(named)? {
            let seed = part.column(VIEW[0]).and_then(|seeds| Ok(seeds.u64()?.get(0))).with_context(named)?;
            let mut words = [String::new(), String::new(), String::new()];
            for (word, key) in words.iter_mut().zip(&keys[1..]) {
                *word = text(&part, key)?;
            }
            let place = order.place(seed.with_context(named)?, words.each_ref().map(String::as_str));
            parts.entry(place).or_insert(part);
        }
    }
    stacked(parts.into_values()).with_context(|| format!("{name} of two records has other columns"))
}

/// What was found of data, which must be the same everywhere.
fn data(records: &[Record]) -> Result<Vec<Coverage>> {
    let mut all: Vec<Coverage> = Vec::new();
    for record in records {
        for found in record.data()? {
            let same = |other: &&Coverage| (&other.set, &other.used_for) == (&found.set, &found.used_for);
            match all.iter().find(same) {
                Some(other) => ensure!(
                    other.content == found.content,
                    "{}: {} ({}) are not the data of the other records: their hashes differ",
                    record.folder.display(),
                    found.set,
                    found.used_for
                ),
                None => all.push(found),
            }
        }
    }
    Ok(all)
}
