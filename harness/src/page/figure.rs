//! Figures as SVG, in the colours of the page that they stand in.

use std::ops::Range;

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Colours that are told apart without colour vision (Okabe and Ito, 2008); yellow is too light for lines.
const COLORS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(120, 120, 120),
];
/// Drawn in the page's own colours for text and for lines behind.
const TEXT: RGBColor = RGBColor(0, 0, 0);
const GRID: RGBColor = RGBColor(200, 200, 200);
/// Width and height of a figure.
const SIZE: (u32, u32) = (420, 320);

/// Points and a line that belong together.
pub(super) struct Series {
    pub(super) points: Vec<(f64, f64)>,
    pub(super) line: Vec<(f64, f64)>,
}

/// Names and ranges of the axes.
pub(super) struct Axes {
    pub(super) x: (String, Range<f64>),
    pub(super) y: (String, Range<f64>),
}

/// The colour of the series at `index`, as CSS has it.
pub(super) fn color(index: usize) -> String {
    let RGBColor(red, green, blue) = COLORS[index % COLORS.len()];
    format!("#{red:02X}{green:02X}{blue:02X}")
}

/// The form of its points, so that figures can be read without colour.
pub(super) fn mark(index: usize) -> &'static str {
    ["●", "▲", "✕", "◆"][index % 4]
}

/// A number on an axis, as short as it goes.
fn number(value: &f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Draws all series into one figure; each `index` has its colour and mark whatever is drawn beside it.
pub(super) fn draw(series: &[(usize, Series)], axes: Axes) -> Result<String> {
    let mut svg = String::new();
    let problem = |error: &dyn std::fmt::Display| anyhow!("a figure cannot be drawn: {error}");
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let (x, y) = (axes.x.1, axes.y.1);
        let mut chart = ChartBuilder::on(&root)
            .margin(8)
            .x_label_area_size(44)
            .y_label_area_size(52)
            .build_cartesian_2d(x, y)
            .map_err(|error| problem(&error))?;
        let text = ("sans-serif", 14).into_font().color(&TEXT);
        chart
            .configure_mesh()
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .axis_style(TEXT)
            .x_labels(6)
            .x_label_formatter(&number)
            .y_label_formatter(&number)
            .y_labels(6)
            .x_desc(axes.x.0)
            .y_desc(axes.y.0)
            .label_style(text.clone())
            .axis_desc_style(text)
            .draw()
            .map_err(|error| problem(&error))?;
        for (index, Series { points, line, .. }) in series {
            let color = COLORS[index % COLORS.len()];
            let drawn = chart.draw_series(LineSeries::new(line.iter().copied(), color.stroke_width(2)));
            drawn.map_err(|error| problem(&error))?;
            let center = Pos::new(HPos::Center, VPos::Center);
            // Many marks are small and see-through.
            let (size, strength) = if points.len() > 40 { (9, 0.55) } else { (16, 1.0) };
            let style = ("sans-serif", size).into_font().color(&color.mix(strength)).pos(center);
            let marks = points.iter().map(|point| Text::new(mark(*index), *point, style.clone()));
            chart.draw_series(marks).map_err(|error| problem(&error))?;
        }
        root.present().map_err(|error| problem(&error))?;
    }
    Ok(svg.replace("#000000", "currentColor").replace("#C8C8C8", "var(--line)"))
}

/// Height of a line of text below a figure.
const LINE: u32 = 18;

/// A figure that stands alone: in colours of its own, on white, with its caption and its legend below.
pub(super) fn standalone(svg: &str, caption: &str, series: &[&str]) -> String {
    let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;");
    let (width, height) = SIZE;
    let line = |at: usize| height + LINE * (at as u32 + 1);
    let mut below = format!(
        "<text x=\"12\" y=\"{}\" font-family=\"sans-serif\" font-size=\"14\" font-weight=\"bold\">{}</text>\n",
        line(0),
        escaped(caption)
    );
    for (index, name) in series.iter().enumerate() {
        below += &format!(
            "<text x=\"12\" y=\"{}\" font-family=\"sans-serif\" font-size=\"14\"><tspan fill=\"{}\">{}</tspan> {}</text>\n",
            line(index + 1),
            color(index),
            mark(index),
            escaped(name)
        );
    }
    let all = line(series.len()) + LINE / 2;
    let back = format!("<rect width=\"{width}\" height=\"{all}\" fill=\"#FFFFFF\"/>\n");
    let end = svg.find('>').map_or(0, |end| end + 1);
    let head = svg[..end].replace(&format!("height=\"{height}\""), &format!("height=\"{all}\""));
    let head = head.replace(&format!("0 0 {width} {height}"), &format!("0 0 {width} {all}"));
    let body = svg[end..].replace("currentColor", "#000000").replace("var(--line)", "#C8C8C8");
    format!("{head}\n{back}{}", body.replace("</svg>", &format!("{below}</svg>")))
}
