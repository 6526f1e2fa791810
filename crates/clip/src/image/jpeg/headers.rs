//! What stands before the scan of a JPEG file (ITU-T T.81, annex B).

use super::huffman::Table;

pub(super) struct Component {
    identity: u8,
    /// Blocks of one MCU across and down.
    pub(super) across: usize,
    pub(super) down: usize,
    quantisation: usize,
    /// Which Huffman tables, set by the scan.
    pub(super) dc: usize,
    pub(super) ac: usize,
}

/// All that is needed to decode the one scan of a file.
pub(super) struct Headers<'a> {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) components: Vec<Component>,
    /// Factors in zigzag order.
    quantisation: [Option<[u16; 64]>; 4],
    pub(super) dc_tables: [Option<Box<Table>>; 4],
    pub(super) ac_tables: [Option<Box<Table>>; 4],
    /// MCUs between restarts; 0: there are none.
    pub(super) restart_interval: usize,
    /// From the first entropy-coded byte to the end of the file.
    pub(super) scan: &'a [u8],
}

/// Bytes read from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn word(&mut self) -> Option<usize> {
        Some(usize::from(self.byte()?) << 8 | usize::from(self.byte()?))
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// What belongs to a marker.
    fn segment(&mut self) -> Option<Reader<'a>> {
        let length = self.word()?.checked_sub(2)?;
        Some(Reader(self.take(length)?))
    }
}

impl<'a> Headers<'a> {
    /// The headers of a baseline file in one scan, grey or YCbCr; `None` for any other file.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        (reader.word()? == 0xffd8).then_some(())?;
        let mut headers = Self {
            width: 0,
            height: 0,
            components: Vec::new(),
            quantisation: [None; 4],
            dc_tables: Default::default(),
            ac_tables: Default::default(),
            restart_interval: 0,
            scan: &[],
        };
        let (mut is_jfif, mut adobe) = (false, None);
        loop {
            (reader.byte()? == 0xff).then_some(())?;
            let mut marker = reader.byte()?;
            while marker == 0xff {
                marker = reader.byte()?;
            }
            let mut segment = reader.segment()?;
            match marker {
                0xc0 | 0xc1 => headers.read_frame(&mut segment)?,
                0xc4 => headers.read_huffman(&mut segment)?,
                0xda => {
                    headers.read_scan(&mut segment)?;
                    break;
                }
                0xdb => headers.read_quantisation(&mut segment)?,
                0xdd => headers.restart_interval = segment.word()?,
                0xe0 => is_jfif |= segment.0.starts_with(b"JFIF\0"),
                0xee if segment.0.starts_with(b"Adobe") => adobe = segment.0.get(11).copied(),
                0xe1..=0xef | 0xfe => {}
                _ => return None,
            }
        }
        headers.scan = reader.0;
        // What libjpeg takes for RGB (`default_decompress_parms`).
        let identities: Vec<u8> = headers.components.iter().map(|component| component.identity).collect();
        let is_rgb = !is_jfif && (adobe == Some(0) || adobe.is_none() && identities == *b"RGB");
        (!is_rgb || headers.components.len() == 1).then_some(headers)
    }

    fn read_frame(&mut self, segment: &mut Reader<'_>) -> Option<()> {
        let precision = segment.byte()?;
        (self.height, self.width) = (segment.word()?, segment.word()?);
        let count = segment.byte()?;
        let is_read = precision == 8 && self.width > 0 && self.height > 0 && self.components.is_empty();
        (is_read && matches!(count, 1 | 3)).then_some(())?;
        for _ in 0..count {
            let (identity, sampling, quantisation) = (segment.byte()?, segment.byte()?, segment.byte()?);
            let (across, down) = (usize::from(sampling >> 4), usize::from(sampling & 15));
            let quantisation = usize::from(quantisation);
            self.components.push(Component { identity, across, down, quantisation, dc: 0, ac: 0 });
        }
        match self.components.as_mut_slice() {
            // The sampling of a single component means nothing.
            [grey] => {
                ((1..=4).contains(&grey.across) && (1..=4).contains(&grey.down)).then_some(())?;
                (grey.across, grey.down) = (1, 1);
            }
            [luma, chroma @ ..] => {
                matches!((luma.across, luma.down), (1, 1) | (2, 1) | (2, 2)).then_some(())?;
                chroma.iter().all(|one| (one.across, one.down) == (1, 1)).then_some(())?;
                // Chrominance of one or two columns is upsampled in another way.
                (luma.across == 1 || self.width > 4).then_some(())?;
            }
            [] => return None,
        }
        Some(())
    }

    fn read_quantisation(&mut self, segment: &mut Reader<'_>) -> Option<()> {
        while !segment.0.is_empty() {
            let kind = segment.byte()?;
            let table = self.quantisation.get_mut(usize::from(kind & 15))?;
            let mut factors = [0; 64];
            for factor in &mut factors {
                *factor = if kind >> 4 == 0 { u16::from(segment.byte()?) } else { segment.word()? as u16 };
            }
            *table = Some(factors);
        }
        Some(())
    }

    fn read_huffman(&mut self, segment: &mut Reader<'_>) -> Option<()> {
        while !segment.0.is_empty() {
            let kind = segment.byte()?;
            let counts: &[u8; 16] = segment.take(16)?.try_into().ok()?;
            let symbols = segment.take(counts.iter().map(|count| usize::from(*count)).sum())?;
            let is_dc = kind >> 4 == 0;
            let tables = if is_dc { &mut self.dc_tables } else { &mut self.ac_tables };
            *tables.get_mut(usize::from(kind & 15))? = Some(Box::new(Table::new(counts, symbols, is_dc)?));
        }
        Some(())
    }

    /// A scan of all components in order, of whole coefficients.
    fn read_scan(&mut self, segment: &mut Reader<'_>) -> Option<()> {
        let count = usize::from(segment.byte()?);
        (count > 0 && count == self.components.len()).then_some(())?;
        for component in &mut self.components {
            (segment.byte()? == component.identity).then_some(())?;
            let tables = segment.byte()?;
            (component.dc, component.ac) = (usize::from(tables >> 4), usize::from(tables & 15));
        }
        // Baseline: the first and last coefficient and the bits left out are fixed, and libjpeg does not look at them.
        segment.take(3)?;
        Some(())
    }

    /// Factors of a component in zigzag order.
    pub(super) fn factors(&self, component: &Component) -> Option<&[u16; 64]> {
        self.quantisation.get(component.quantisation)?.as_ref()
    }
}
