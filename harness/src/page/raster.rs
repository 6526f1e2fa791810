//! Figures as PNG, with letters of their own: the same bytes on every machine.

use std::sync::Arc;

use anyhow::{Context, Result};
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};

/// DejaVu Sans, cut to Latin and Greek letters and a few signs.
const FONT: &[u8] = include_bytes!("../../assets/DejaVuSans-subset.ttf");
/// Pixels for each unit of the SVG: a figure 420 wide is 9 cm at 350 dots an inch.
const SCALE: f32 = 3.0;

/// A figure that stands alone, as PNG.
pub fn png(svg: &str) -> Result<Vec<u8>> {
    let mut fonts = fontdb::Database::new();
    fonts.load_font_data(FONT.to_vec());
    fonts.set_sans_serif_family("DejaVu Sans");
    let options = Options { fontdb: Arc::new(fonts), ..Options::default() };
    let tree = Tree::from_str(svg, &options).context("a figure cannot be read")?;
    let size = tree.size().to_int_size().scale_by(SCALE).context("a figure without a size")?;
    let mut pixels = Pixmap::new(size.width(), size.height()).context("a figure without pixels")?;
    resvg::render(&tree, Transform::from_scale(SCALE, SCALE), &mut pixels.as_mut());
    pixels.encode_png().context("a figure cannot be written")
}
