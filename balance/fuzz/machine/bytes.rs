//! Choices drawn from a string of bytes: any bytes make a legal sequence, a shorter string makes a shorter one.

/// What is left of the string.
pub(crate) struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next byte; `None` at the end.
    pub(crate) fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    /// A number below `n`, which is at most 2¹⁶; 0 at the end and where `n` is 0. One byte is spent where one is enough.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        let mut number = usize::from(self.next().unwrap_or(0));
        if n > 256 {
            number = number << 8 | usize::from(self.next().unwrap_or(0));
        }
        number % n.max(1)
    }

    /// True once in `n` times.
    pub(crate) fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    /// One of these; they are not empty.
    pub(crate) fn one_of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }
}
