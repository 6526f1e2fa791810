//! Baseline JPEG files, several times as fast as by libjpeg without vector code, and with the same pixels.

use kernels::jpeg::{ACROSS, BOTH_WAYS, grey_to_rgb, join_rows, to_rgb, upsample, widen};

use super::super::limit::check_size;
use super::headers::Headers;
use super::scan::{Plane, decode};

/// Width, height and pixels `[height, width, 3]` of a baseline file in one scan, grey or of luminance and chrominance
/// at 4:4:4, 4:2:2 or 4:2:0; `None` for any other file, for one that is damaged and for one that is too large.
pub(super) fn read(bytes: &[u8]) -> Option<(usize, usize, Vec<u8>)> {
    let headers = Headers::read(bytes)?;
    let (width, height) = (headers.width, headers.height);
    check_size(width, height).ok()?;
    let planes = decode(&headers)?;
    let mut rgb = vec![0; width * height * 3];
    let lines = rgb.chunks_exact_mut(width * 3).enumerate();
    match planes.as_slice() {
        [grey] => lines.for_each(|(y, line)| grey_to_rgb(grey.line(y), line)),
        [luma, blue, red] => {
            let [across, down] = [headers.components[0].across, headers.components[0].down];
            let shown = [width.div_ceil(across), height.div_ceil(down)];
            let mut chroma = [blue, red].map(|plane| Upsampler::new(plane, [across, down], shown));
            for (y, line) in lines {
                let [blue, red] = chroma.each_mut().map(|one| one.line(y));
                to_rgb(luma.line(y), blue, red, line);
            }
        }
        _ => return None,
    }
    Some((width, height, rgb))
}

impl Plane {
    fn line(&self, y: usize) -> &[u8] {
        &self.levels[y * self.stride..][..self.stride]
    }
}

/// Gives the lines of a component at the size of the image.
struct Upsampler<'a> {
    plane: &'a Plane,
    /// Pixels of the image for one level.
    across: usize,
    down: usize,
    /// Levels across and down of which pixels are shown.
    width: usize,
    height: usize,
    sums: Vec<u16>,
    levels: Vec<u8>,
}

impl<'a> Upsampler<'a> {
    fn new(plane: &'a Plane, [across, down]: [usize; 2], [width, height]: [usize; 2]) -> Self {
        let (sums, levels) = (vec![0; plane.stride + 2], vec![0; plane.stride * 2]);
        Self { plane, across, down, width, height, sums, levels }
    }

    fn line(&mut self, y: usize) -> &[u8] {
        if self.across == 1 {
            return self.plane.line(y);
        }
        let near = y / self.down;
        if self.down == 1 {
            widen(self.plane.line(near), &mut self.sums[1..]);
            upsample(&mut self.sums, self.width, ACROSS, &mut self.levels);
        } else {
            let far =
                if y.is_multiple_of(2) { near.saturating_sub(1) } else { (near + 1).min(self.height - 1) };
            join_rows(self.plane.line(near), self.plane.line(far), &mut self.sums[1..]);
            upsample(&mut self.sums, self.width, BOTH_WAYS, &mut self.levels);
        }
        &self.levels
    }
}
