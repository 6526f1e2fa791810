//! Tables with a name, a tab and a value on each line (`golden/make_text_tables.py` writes them).

/// The lines of a table, in order.
pub(super) fn lines(table: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    table.lines().filter_map(|line| line.split_once('\t'))
}

/// Hexadecimal numbers with spaces between, as characters.
pub(super) fn characters(numbers: &str) -> impl Iterator<Item = char> {
    numbers.split(' ').filter_map(|number| char::from_u32(u32::from_str_radix(number, 16).ok()?))
}
