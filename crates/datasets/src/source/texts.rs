//! Many short texts in few allocations.

const BLOCK: usize = 1 << 20;
/// Bits of a text's length, of its place in a block, and of the block's number: 16 TiB in all.
const BITS: [u32; 3] = [20, 20, 24];

/// Texts by number, back to back in blocks: 8 bytes more than each text has itself.
#[derive(Default)]
pub(crate) struct Texts {
    blocks: Vec<String>,
    /// Block, place in it, length.
    places: Vec<u64>,
}

impl Texts {
    /// Bytes of the longest text that is kept.
    pub(crate) const LONGEST: usize = BLOCK - 1;

    /// Puts a text at the end; of one over [`Self::LONGEST`] nothing is kept.
    pub(crate) fn push(&mut self, text: &str) {
        let text = if text.len() > Self::LONGEST { "" } else { text };
        if self.blocks.last().is_none_or(|block| block.len() + text.len() > BLOCK) {
            // Small data sets do not need a whole block.
            let capacity = if self.blocks.is_empty() { 0 } else { BLOCK };
            self.blocks.push(String::with_capacity(capacity));
        }
        let number = self.blocks.len() - 1;
        if let Some(block) = self.blocks.last_mut() {
            let place = block.len() as u64;
            block.push_str(text);
            self.places.push((number as u64) << (BITS[0] + BITS[1]) | place << BITS[0] | text.len() as u64);
        }
    }

    /// The text at `index`; empty where there is none.
    pub(crate) fn get(&self, index: usize) -> &str {
        let Some(&packed) = self.places.get(index) else { return "" };
        let length = (packed & ((1 << BITS[0]) - 1)) as usize;
        let place = (packed >> BITS[0] & ((1 << BITS[1]) - 1)) as usize;
        let block = self.blocks.get((packed >> (BITS[0] + BITS[1])) as usize);
        block.and_then(|block| block.get(place..place + length)).unwrap_or_default()
    }

    pub(crate) fn shrink(&mut self) {
        self.places.shrink_to_fit();
        if let Some(last) = self.blocks.last_mut() {
            last.shrink_to_fit();
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn memory(&self) -> usize {
        self.blocks.iter().map(String::capacity).sum::<usize>() + self.places.capacity() * size_of::<u64>()
    }
}

pub(crate) fn first_64_bits(hash: blake3::Hash) -> u64 {
    hash.as_bytes()[..8].iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_across_blocks() {
        let mut texts = Texts::default();
        let long = "ä".repeat(300_000);
        let all = ["", "a", &long, "ü", &long, "z", &"x".repeat(Texts::LONGEST)];
        all.iter().for_each(|text| texts.push(text));
        assert!(all.iter().enumerate().all(|(index, text)| texts.get(index) == *text));
        texts.push(&"x".repeat(Texts::LONGEST + 1));
        assert_eq!((texts.get(all.len()), texts.get(99), texts.len()), ("", "", all.len() + 1));
    }
}
