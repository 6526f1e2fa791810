//! The grid as a figure: what the page has as a table.

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::figure::{COLORS, Drawn, Figure, problem};
use super::input::Page;
use super::tables::{percent, sides};
use crate::sheet::Grid;

/// Pixels: height of a row, width of a value at least, width of a letter at most.
const ROW: i32 = 24;
const VALUE: i32 = 62;
const LETTER: usize = 8;
/// Strength of the colour of 100 %, so that numbers stay readable on it.
const STRONGEST: f64 = 0.55;

/// One figure for each test set: means over seeds, clean accuracy beside attack success rate.
pub(super) fn drawn_grids(page: &Page<'_>) -> Result<Drawn> {
    let figures = page.sheet.grids.iter().map(|own| {
        let caption = format!("{}: clean accuracy and attack success rate, %", own.set);
        Ok(Figure { svg: grid(own)?, caption, note: String::new(), description: String::new() })
    });
    Ok(Drawn { figures: figures.collect::<Result<_>>()?, legend: Vec::new() })
}

fn grid(grid: &Grid) -> Result<String> {
    let (_, rows, columns, states) = sides(grid);
    let names = rows.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let left = (names * LETTER + 16) as i32;
    let titles = columns.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let value = VALUE.max((titles * LETTER / 2 + 8) as i32);
    let (width, height) = (left + 2 * value * columns.len() as i32 + 8, ROW * (rows.len() as i32 + 2) + 8);
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (width as u32, height as u32)).into_drawing_area();
        let write = |words: &str, x: i32, row: usize, from: HPos| {
            let style = ("sans-serif", 14).into_font().color(&BLACK).pos(Pos::new(from, VPos::Center));
            root.draw(&Text::new(words, (x, ROW * row as i32 + ROW / 2 + 4), style)).map_err(problem)
        };
        for (column, name) in columns.iter().enumerate() {
            let x = left + 2 * value * column as i32;
            write(name, x + value, 0, HPos::Center)?;
            write("CA ↑", x + value / 2, 1, HPos::Center)?;
            write("ASR ↓", x + value * 3 / 2, 1, HPos::Center)?;
        }
        for (row, name) in rows.iter().enumerate() {
            write(name, left - 8, row + 2, HPos::Right)?;
            for (column, state) in states[row].iter().enumerate() {
                let (x, y) = (left + value * 2 * column as i32, ROW * (row as i32 + 2) + 4);
                let pair = match state.shown() {
                    Ok(pair) => pair,
                    Err(name) => {
                        write(name, x + value, row + 2, HPos::Center)?;
                        continue;
                    }
                };
                for (side, mean) in pair.into_iter().enumerate() {
                    let x = x + value * side as i32;
                    let corners = [(x + 1, y + 1), (x + value - 1, y + ROW - 1)];
                    let color = COLORS[side].mix(mean.mean.clamp(0.0, 1.0) * STRONGEST).filled();
                    root.draw(&Rectangle::new(corners, color)).map_err(problem)?;
                    write(&percent(mean.mean), x + value / 2, row + 2, HPos::Center)?;
                }
            }
        }
        root.present().map_err(problem)?;
    }
    Ok(svg)
}
