//! Figures as SVG: marks that are told apart by form as well as by colour, axes, and what surrounds a figure.

use std::ops::Range;

use anyhow::{Context, Result, anyhow};
use maud::{Markup, PreEscaped, html};
use plotters::coord::types::RangedCoordf64;
use plotters::element::{Drawable, PointCollection};
use plotters::prelude::*;
use plotters_backend::{BackendCoord, DrawingErrorKind};

/// Colours that are told apart without colour vision (Okabe and Ito, 2008), the lighter ones darkened until they stand
/// out from white by 3 : 1; a page in the dark has its own, under the same numbers (`style.css`).
pub(super) const COLORS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 145, 105),
    RGBColor(184, 84, 140),
    RGBColor(46, 139, 192),
    RGBColor(168, 114, 0),
    RGBColor(110, 110, 110),
];
/// Drawn in the page's own colours for text and for lines behind.
const TEXT: RGBColor = RGBColor(0, 0, 0);
const GRID: RGBColor = RGBColor(200, 200, 200);

/// How a series is drawn.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Look {
    /// Filled marks, a full line.
    Plain,
    /// Marks or lines of this strength, in (0, 1].
    Faint(f64),
    /// Larger marks that are outlines.
    Hollow,
}

impl Look {
    fn strength(self) -> f64 {
        if let Self::Faint(strength) = self { strength } else { 1.0 }
    }
}

/// Points and a line that belong together.
pub(super) struct Series {
    /// Number of its colour and its form.
    pub(super) style: usize,
    pub(super) look: Look,
    pub(super) points: Vec<(f64, f64)>,
    pub(super) line: Vec<(f64, f64)>,
}

/// What a figure is drawn on.
pub(super) struct Axes {
    pub(super) size: (u32, u32),
    pub(super) x: Range<f64>,
    pub(super) y: Range<f64>,
    /// Without them there are no numbers either.
    pub(super) names: Option<[String; 2]>,
}

/// Width and height of figures: one of many points, one of a few lines, one without axes.
pub(super) const WIDE: (u32, u32) = (420, 320);
pub(super) const SMALL: (u32, u32) = (300, 240);
pub(super) const SQUARE: (u32, u32) = (280, 280);

/// A figure, what it shows in a few words and a few more, and the same for whom it shows nothing.
pub(super) struct Figure {
    pub(super) svg: String,
    pub(super) caption: String,
    pub(super) note: String,
    pub(super) description: String,
}

/// An entry of a legend.
pub(super) struct Key {
    pub(super) style: usize,
    pub(super) look: Look,
    pub(super) name: String,
}

/// Figures of one kind, and what their marks mean.
pub(super) struct Drawn {
    pub(super) figures: Vec<Figure>,
    pub(super) legend: Vec<Key>,
}

/// A number on an axis, as short as it goes.
fn number(value: &f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A mark of about `size` pixels around a point.
struct Mark<C> {
    style: usize,
    look: Look,
    size: i32,
    at: C,
}

impl<'a, C: 'a> PointCollection<'a, C> for &'a Mark<C> {
    type Point = &'a C;
    type IntoIter = std::iter::Once<&'a C>;

    fn point_iter(self) -> Self::IntoIter {
        std::iter::once(&self.at)
    }
}

impl<C, B: DrawingBackend> Drawable<B> for Mark<C> {
    fn draw<I: Iterator<Item = BackendCoord>>(
        &self,
        mut points: I,
        backend: &mut B,
        _: (u32, u32),
    ) -> Result<(), DrawingErrorKind<B::ErrorType>> {
        let Some((x, y)) = points.next() else { return Ok(()) };
        let (size, hollow) = (self.size, self.look == Look::Hollow);
        let color = COLORS[self.style % COLORS.len()].mix(self.look.strength());
        let outline = color.stroke_width(2);
        let (near, far) = (size * 4 / 5, size * 6 / 5);
        let around = |corners: &[(i32, i32)]| -> Vec<BackendCoord> {
            corners.iter().map(|(right, down)| (x + right, y + down)).collect()
        };
        let corners = match self.style % 5 {
            0 if hollow => return backend.draw_circle((x, y), size as u32, &outline, false),
            0 => return backend.draw_circle((x, y), size as u32, &color, true),
            1 => around(&[(0, -far), (far, near), (-far, near)]),
            2 => {
                if hollow {
                    backend.draw_circle((x, y), far as u32, &outline, false)?;
                }
                backend.draw_path(around(&[(-near, -near), (near, near)]), &outline)?;
                return backend.draw_path(around(&[(-near, near), (near, -near)]), &outline);
            }
            3 => around(&[(0, -far), (far, 0), (0, far), (-far, 0)]),
            _ => around(&[(-near, -near), (near, -near), (near, near), (-near, near)]),
        };
        if hollow {
            return backend.draw_path(corners.iter().copied().chain(corners.first().copied()), &outline);
        }
        backend.fill_polygon(corners, &color)
    }
}

/// Pixels of marks: the more there are the smaller.
fn mark_size(Series { look, points, .. }: &Series) -> i32 {
    match (look, points.len()) {
        (Look::Hollow, _) => 6,
        (_, 0..=40) => 5,
        (_, 41..=150) => 4,
        _ => 3,
    }
}

type Chart<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Lines behind, numbers and names of the axes; of a square figure only its edge and where zero is.
fn draw_axes(chart: &mut Chart<'_>, axes: &Axes) -> Result<()> {
    let text = ("sans-serif", 14).into_font().color(&TEXT);
    let Some([x, y]) = &axes.names else {
        let (x, y) = (&axes.x, &axes.y);
        let edge =
            [(x.start, y.start), (x.end, y.start), (x.end, y.end), (x.start, y.end), (x.start, y.start)];
        let zeros = [[(0.0, y.start), (0.0, y.end)], [(x.start, 0.0), (x.end, 0.0)]];
        let inside = |[(at_x, at_y), (to_x, _)]: &[(f64, f64); 2]| {
            if at_x == to_x { x.contains(at_x) } else { y.contains(at_y) }
        };
        let zeros = zeros.into_iter().filter(inside).map(|line| line.to_vec());
        for line in std::iter::once(edge.to_vec()).chain(zeros) {
            chart.draw_series(LineSeries::new(line, GRID)).map_err(problem)?;
        }
        return Ok(());
    };
    chart
        .configure_mesh()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(TEXT)
        .x_labels(if axes.size == SMALL { 4 } else { 6 })
        .x_label_formatter(&number)
        .y_label_formatter(&number)
        .y_labels(6)
        .x_desc(x)
        .y_desc(y)
        .label_style(text.clone())
        .axis_desc_style(text)
        .draw()
        .map_err(problem)
}

pub(super) fn problem(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("a figure cannot be drawn: {error}")
}

/// Draws all series into one figure, in colours of its own.
pub(super) fn draw(series: &[Series], axes: &Axes) -> Result<String> {
    let mut svg = String::new();
    {
        let bare = axes.names.is_none();
        let root = SVGBackend::with_string(&mut svg, axes.size).into_drawing_area();
        let mut chart = ChartBuilder::on(&root)
            .margin(if bare { 2 } else { 8 })
            .x_label_area_size(if bare { 0 } else { 44 })
            .y_label_area_size(if bare { 0 } else { 52 })
            .build_cartesian_2d(axes.x.clone(), axes.y.clone())
            .map_err(problem)?;
        draw_axes(&mut chart, axes)?;
        for one in series {
            let color = COLORS[one.style % COLORS.len()].mix(one.look.strength());
            let mark =
                |at: &(f64, f64)| Mark { style: one.style, look: one.look, size: mark_size(one), at: *at };
            chart.draw_series(one.points.iter().map(mark)).map_err(problem)?;
            let line = LineSeries::new(one.line.iter().copied(), color.stroke_width(2));
            chart.draw_series(line).map_err(problem)?;
        }
        root.present().map_err(problem)?;
    }
    Ok(svg)
}

/// Side of a mark in a legend.
const KEY: u32 = 16;

/// The mark of a legend alone.
fn key_svg(Key { style, look, .. }: &Key) -> Result<String> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (KEY, KEY)).into_drawing_area();
        let look = if let Look::Faint(_) = look { Look::Plain } else { *look };
        let at = (KEY as i32 / 2, KEY as i32 / 2);
        root.draw(&Mark { style: *style, look, size: 5, at }).map_err(problem)?;
        root.present().map_err(problem)?;
    }
    Ok(svg)
}

fn hex(RGBColor(red, green, blue): RGBColor) -> String {
    format!("#{red:02X}{green:02X}{blue:02X}")
}

/// A figure in the colours of the page that it stands in.
fn themed(svg: &str) -> String {
    let mut svg = svg.replace(&hex(TEXT), "currentColor").replace(&hex(GRID), "var(--line)");
    for (index, color) in COLORS.into_iter().enumerate() {
        svg = svg.replace(&hex(color), &format!("var(--series-{index})"));
    }
    svg
}

/// The opening tag of an SVG with what stands before it, and the rest.
fn inside(svg: &str) -> (&str, &str) {
    let start = svg.find("<svg").and_then(|at| Some(at + svg[at..].find('>')? + 1));
    svg.split_at(start.unwrap_or(0))
}

/// What marks mean.
pub(super) fn legend(keys: &[Key]) -> Result<Markup> {
    let keys = keys.iter().map(|key| Ok((themed(&key_svg(key)?), &key.name))).collect::<Result<Vec<_>>>()?;
    Ok(html! { ul class="legend" { @for (svg, name) in keys {
        li { span aria-hidden="true" { (PreEscaped(svg)) } " " (name) }
    } } })
}

/// Figures side by side; `kind` begins the names of their titles, and no other figures of a page have it.
pub(super) fn beside(figures: &[Figure], kind: &str) -> Markup {
    let figures = figures.iter().enumerate().map(|(index, Figure { svg, caption, note, description })| {
        let [title, words] = ["title", "words"].map(|part| format!("{kind}-{index}-{part}"));
        let svg = themed(svg);
        let (head, body) = inside(&svg);
        let open = head.replace("<svg", &format!("<svg role=\"img\" aria-labelledby=\"{title} {words}\""));
        html! { figure {
            (PreEscaped(open)) title id=(title) { (caption) } desc id=(words) { (description) } (PreEscaped(body))
            figcaption { (caption) @if !note.is_empty() { br; small { (note) } } }
        } }
    });
    html! { div class="figures" { @for figure in figures { (figure) } } }
}

/// Height of a line of text below a figure.
const LINE: u32 = 18;

/// A figure that stands alone: on white, with its caption and its legend below.
pub(super) fn standalone(figure: &Figure, legend: &[Key]) -> Result<String> {
    let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;");
    let text = |x: u32, y: u32, weight: &str, words: &str| {
        format!(
            "<text x=\"{x}\" y=\"{y}\" font-family=\"sans-serif\" font-size=\"14\" font-weight=\"{weight}\">{}</text>\n",
            escaped(words)
        )
    };
    let (head, body) = inside(&figure.svg);
    let length = |name: &str| -> Option<u32> {
        head.split(&format!(" {name}=\"")).nth(1)?.split('"').next()?.parse().ok()
    };
    let (width, height) = length("width").zip(length("height")).context("a figure without a size")?;
    let line = |at: usize| height + LINE * (at as u32 + 1);
    let mut below = text(12, line(0), "bold", &[figure.caption.as_str(), &figure.note].join("  "));
    for (index, key) in legend.iter().enumerate() {
        let y = line(index + 1);
        let mark = key_svg(key)?;
        let mark = inside(&mark).1.replace("</svg>", "");
        below += &format!("<g transform=\"translate(12 {})\">{mark}</g>\n", y - 13);
        below += &text(34, y, "normal", &key.name);
    }
    // Letters are about half as wide as they are high.
    let words = legend.iter().map(|key| key.name.chars().count() as u32 + 4);
    let caption = figure.caption.chars().count() + figure.note.chars().count() + 2;
    let wide = words.chain([caption as u32]).max().unwrap_or(0) * 8 + 16;
    let (all, wide) = (line(legend.len()) + LINE / 2, wide.max(width));
    let head = head
        .replace(&format!("height=\"{height}\""), &format!("height=\"{all}\""))
        .replace(&format!("width=\"{width}\""), &format!("width=\"{wide}\""))
        .replace(&format!("0 0 {width} {height}"), &format!("0 0 {wide} {all}"));
    let title =
        format!("<title>{}</title><desc>{}</desc>", escaped(&figure.caption), escaped(&figure.description));
    let back = format!("<rect width=\"{wide}\" height=\"{all}\" fill=\"#FFFFFF\"/>");
    Ok(format!("{head}\n{title}\n{back}\n{}", body.replace("</svg>", &format!("{below}</svg>"))))
}
