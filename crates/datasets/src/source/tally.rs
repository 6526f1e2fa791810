//! What is counted and named by its first few.

/// The most that are named.
const NAMED: usize = 5;

/// A number of things, and the first of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    count: usize,
    first: Vec<String>,
}

impl Tally {
    pub(crate) fn add(&mut self, name: impl Into<String>) {
        if self.first.len() < NAMED {
            self.first.push(name.into());
        }
        self.count += 1;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        let room = NAMED - self.first.len();
        self.first.extend(other.first.iter().take(room).cloned());
        self.count += other.count;
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The names, and how many more there are.
    pub(crate) fn names(&self) -> String {
        let more = self.count - self.first.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        self.first.join(", ") + &more
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_named_and_the_others_counted() {
        let (mut first, mut second) = (Tally::default(), Tally::default());
        (0..3).for_each(|number| first.add(format!("a{number}")));
        (0..4).for_each(|number| second.add(format!("b{number}")));
        first.merge(&second);
        assert_eq!((first.count(), first.names().as_str()), (7, "a0, a1, a2, b0, b1 and 2 more"));
    }
}
