//! Huffman codes of JPEG, decoded with the value that follows them in one look-up (ITU-T T.81, annexes C and F).

/// Bits looked up at a time.
const LOOK_UP: u32 = 11;

/// What a code and the bits after it mean, packed: from the lowest bit on 8 bits, how many bits they are; 8 bits, how
/// many coefficients are done with it, the zeros before it and itself; 16 bits, the coefficient or the difference of a
/// DC coefficient. 0: it takes more bits than were looked up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Symbol(u32);

impl Symbol {
    fn new(value: i16, steps: u8, bits: u8) -> Self {
        Self(u32::from(value as u16) << 16 | u32::from(steps) << 8 | u32::from(bits))
    }

    pub(super) fn value(self) -> i16 {
        (self.0 >> 16) as i16
    }

    /// Coefficients done; `END` at the end of a block.
    pub(super) fn steps(self) -> usize {
        (self.0 >> 8 & 0xff) as usize
    }

    fn bits(self) -> u32 {
        self.0 & 0xff
    }
}

/// Steps of the code that ends a block.
pub(super) const END: usize = 128;
/// Symbols that can be looked up after one [`Bits::fill`].
pub(super) const AT_A_TIME: usize = 5;

pub(super) struct Table {
    short: [Symbol; 1 << LOOK_UP],
    /// For each length of a code, from 1 on: one more than the last code, filled up to 16 bits.
    limits: [u32; 16],
    /// For each length: what is added to a code to get the index of its symbol.
    offsets: [i32; 16],
    symbols: [u8; 256],
}

impl Table {
    /// The table of `counts[n]` codes of n + 1 bits; `None` where it cannot be.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8], is_dc: bool) -> Option<Self> {
        // A difference has at most 15 bits.
        (symbols.len() <= 256 && !(is_dc && symbols.iter().any(|symbol| *symbol > 15))).then_some(())?;
        let mut table = Self {
            short: [Symbol::default(); 1 << LOOK_UP],
            limits: [0; 16],
            offsets: [0; 16],
            symbols: [0; 256],
        };
        table.symbols[..symbols.len()].copy_from_slice(symbols);
        let (mut code, mut index) = (0u32, 0);
        for (length, count) in (1..=16).zip(counts) {
            let at = length as usize - 1;
            table.offsets[at] = index - code as i32;
            code += u32::from(*count);
            index += i32::from(*count);
            (code <= 1 << length).then_some(())?;
            table.limits[at] = code << (16 - length);
            code <<= 1;
        }
        for bits in 0..1 << LOOK_UP {
            let symbol = table.search((bits as u64) << (64 - LOOK_UP), is_dc);
            table.short[bits] = symbol.filter(|symbol| symbol.bits() <= LOOK_UP).unwrap_or_default();
        }
        Some(table)
    }

    /// The symbol at the front of `bits`, found length by length.
    fn search(&self, bits: u64, is_dc: bool) -> Option<Symbol> {
        let front = (bits >> 48) as u32;
        let length = self.limits.iter().position(|limit| front < *limit)? as u32 + 1;
        let index = (front >> (16 - length)) as i32 + self.offsets[length as usize - 1];
        let symbol = *self.symbols.get(usize::try_from(index).ok()?)?;
        let size = u32::from(symbol & 15);
        let steps = match (is_dc, symbol >> 4, size) {
            (true, ..) => 1,
            // Runs without a value that are not of 16 zeros end the block, as in libjpeg.
            (false, 0..15, 0) => END as u8,
            (false, run, _) => run + 1,
        };
        // The two's complement of values whose first bit is 0 is one too low (figure F.12).
        let value = if size == 0 {
            0
        } else {
            let raw = ((bits << length) >> (64 - size)) as i32;
            if raw < 1 << (size - 1) { raw - (1 << size) + 1 } else { raw }
        };
        Some(Symbol::new(value as i16, steps, (length + size) as u8))
    }
}

/// The bits of a restart interval, without stuffed bytes.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Bits from the top on, of which `count` are sure.
    bits: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, bits: 0, count: 0 }
    }

    /// Reads on, so that 56 bits are sure.
    #[inline(always)]
    pub(super) fn fill(&mut self) {
        let next = self.bytes.get(self.at..self.at + 8).and_then(|next| next.try_into().ok());
        // Zeros beyond the end; `is_overrun` tells.
        self.bits |= u64::from_be_bytes(next.unwrap_or_default()) >> self.count;
        self.at += ((63 - self.count) >> 3) as usize;
        self.count |= 56;
    }

    /// The next symbol; `None` where no code begins so. At least `LOOK_UP` bits are sure.
    #[inline(always)]
    pub(super) fn symbol(&mut self, table: &Table, is_dc: bool) -> Option<Symbol> {
        let mut symbol = table.short[(self.bits >> (64 - LOOK_UP)) as usize];
        if symbol.bits() == 0 {
            self.fill();
            symbol = table.search(self.bits, is_dc)?;
            self.skip(symbol.bits());
            self.fill();
        } else {
            self.skip(symbol.bits());
        }
        Some(symbol)
    }

    #[inline(always)]
    fn skip(&mut self, count: u32) {
        self.bits <<= count;
        self.count -= count;
    }

    /// Whether more bits were read than there are: of `length` bytes, what follows being padding.
    pub(super) fn is_overrun(&self, length: usize) -> bool {
        self.at * 8 > length * 8 + self.count as usize
    }
}
