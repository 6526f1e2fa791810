//! The one scan of a baseline JPEG file, as levels of each component.

use kernels::jpeg::{GROUP, GROUP_WIDTH, LANES, inverse_cosine};

use super::headers::Headers;
use super::huffman::{AT_A_TIME, Bits, END, Table};

/// Where the coefficients of a block stand in its group, in zigzag order (ITU-T T.81, figure A.6).
const ORDER: [u16; 64] = {
    let mut order = [0; 64];
    let (mut row, mut column, mut at) = (0, 0, 0);
    while at < 64 {
        order[at] = (row * 8 + column) * LANES as u16;
        // Diagonals, up where row and column sum up to an even number.
        if (row + column) % 2 == 0 {
            if column == 7 {
                row += 1;
            } else {
                column += 1;
                row = row.saturating_sub(1);
            }
        } else if row == 7 {
            column += 1;
        } else {
            row += 1;
            column = u16::saturating_sub(column, 1);
        }
        at += 1;
    }
    order
};

/// Bytes of zeros behind a restart interval, so that bits can be read eight bytes at a time.
const PADDING: usize = 16;

/// Levels of one component, in lines of `stride`, with some at the ends of lines and below that are not shown.
pub(super) struct Plane {
    pub(super) levels: Vec<u8>,
    pub(super) stride: usize,
}

/// A component while it is decoded.
struct Decoder<'a> {
    across: usize,
    down: usize,
    factors: [i16; 64],
    dc: &'a Table,
    ac: &'a Table,
    /// The DC coefficient of the last block.
    last: i16,
    /// Coefficients of one row of MCUs: `down` rows of groups of blocks.
    coefficients: Vec<i16>,
    plane: Plane,
}

/// Levels of all components; `None` where something is wrong with the file.
pub(super) fn decode(headers: &Headers<'_>) -> Option<Vec<Plane>> {
    let luma = headers.components.first()?;
    let columns = headers.width.div_ceil(8 * luma.across);
    let rows = headers.height.div_ceil(8 * luma.down);
    // A block takes two bits or more: no memory is taken for what cannot be there.
    let blocks: usize = headers.components.iter().map(|one| one.across * one.down).sum();
    (columns * rows * blocks <= headers.scan.len() * 4).then_some(())?;
    let mut decoders = Vec::new();
    for component in &headers.components {
        let stride = (columns * component.across).div_ceil(LANES) * GROUP_WIDTH;
        decoders.push(Decoder {
            across: component.across,
            down: component.down,
            factors: headers.factors(component)?.map(|factor| factor as i16),
            dc: headers.dc_tables.get(component.dc)?.as_deref()?,
            ac: headers.ac_tables.get(component.ac)?.as_deref()?,
            last: 0,
            coefficients: vec![0; component.down * stride * 8],
            plane: Plane { levels: vec![0; rows * component.down * 8 * stride], stride },
        });
    }
    let interval = if headers.restart_interval == 0 { usize::MAX } else { headers.restart_interval };
    let (mut scan, mut bytes) = (headers.scan, Vec::with_capacity(headers.scan.len() + PADDING));
    let mut next_restart = 0;
    let mut end = unstuff(&mut scan, &mut bytes)?;
    let mut bits = Bits::new(&bytes);
    let mut left = interval;
    for row in 0..rows {
        for column in 0..columns {
            if left == 0 {
                // Restart markers count from 0 to 7.
                let is_next = end == 0xd0 + next_restart && !bits.is_overrun(bytes.len() - PADDING);
                is_next.then_some(())?;
                next_restart = (next_restart + 1) % 8;
                end = unstuff(&mut scan, &mut bytes)?;
                bits = Bits::new(&bytes);
                decoders.iter_mut().for_each(|decoder| decoder.last = 0);
                left = interval;
            }
            left -= 1;
            decoders.iter_mut().try_for_each(|decoder| decoder.read(column, &mut bits))?;
        }
        decoders.iter_mut().for_each(|decoder| decoder.transform(row));
    }
    // Anything but an end without a restart is for libjpeg to judge.
    let is_whole = !(0xd0..=0xd7).contains(&end) && !bits.is_overrun(bytes.len() - PADDING);
    is_whole.then(|| decoders.into_iter().map(|decoder| decoder.plane).collect())
}

/// Copies what stands before the next marker, without the zeros after bytes of ones and with padding, and gives the
/// marker; `None` where the file ends before it.
fn unstuff(scan: &mut &[u8], bytes: &mut Vec<u8>) -> Option<u8> {
    const STEP: usize = 32;
    bytes.clear();
    let marker = loop {
        let mut clear = 0;
        while scan[clear..]
            .first_chunk::<STEP>()
            .is_some_and(|chunk| !chunk.iter().fold(false, |any, byte| any | (*byte == 0xff)))
        {
            clear += STEP;
        }
        clear += scan[clear..].iter().position(|byte| *byte == 0xff)?;
        bytes.extend_from_slice(&scan[..clear]);
        let next = *scan.get(clear + 1)?;
        match next {
            0 => bytes.push(0xff),
            // Filled up with ones.
            0xff => {
                *scan = &scan[clear + 1..];
                continue;
            }
            marker => {
                *scan = &scan[clear + 2..];
                break marker;
            }
        }
        *scan = &scan[clear + 2..];
    };
    bytes.extend([0; PADDING]);
    Some(marker)
}

impl Decoder<'_> {
    /// The blocks of one MCU.
    #[inline(always)]
    fn read(&mut self, column: usize, bits: &mut Bits<'_>) -> Option<()> {
        let row_length = self.plane.stride * 8;
        for row in 0..self.down {
            for block in 0..self.across {
                let block = column * self.across + block;
                let start = row * row_length + block / LANES * GROUP;
                let group: &mut [i16; GROUP] = self.coefficients[start..].first_chunk_mut()?;
                bits.fill();
                let difference = bits.symbol(self.dc, true)?.value();
                self.last = self.last.wrapping_add(difference);
                let lane = block % LANES;
                group[lane] = self.last.wrapping_mul(self.factors[0]);
                read_block(group, lane, &self.factors, self.ac, bits)?;
            }
        }
        Some(())
    }

    /// The levels of one row of MCUs.
    fn transform(&mut self, row: usize) {
        let stride = self.plane.stride;
        let lines = self.plane.levels.chunks_exact_mut(stride * 8).skip(row * self.down);
        for (coefficients, lines) in self.coefficients.chunks_exact_mut(stride * 8).zip(lines) {
            inverse_cosine(coefficients, lines, stride);
            coefficients.fill(0);
        }
    }
}

/// The coefficients of a block but the first, dequantised.
#[inline(always)]
fn read_block(
    group: &mut [i16; GROUP],
    lane: usize,
    factors: &[i16; 64],
    table: &Table,
    bits: &mut Bits<'_>,
) -> Option<()> {
    let mut next = 1;
    loop {
        bits.fill();
        for _ in 0..AT_A_TIME {
            let symbol = bits.symbol(table, false)?;
            next += symbol.steps();
            if next > 64 {
                return (next >= END).then_some(());
            }
            let at = next - 1;
            group[(usize::from(ORDER[at]) + lane) % GROUP] = symbol.value().wrapping_mul(factors[at]);
            if next == 64 {
                return Some(());
            }
        }
    }
}
