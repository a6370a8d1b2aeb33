//! What objects are expected to be like: their keys, and the kinds of their values.

use super::Kind;
use super::shapes::Key;

/// A shape and the kinds of its values. Whoever expects an object to have it needs not look for its keys.
#[derive(Debug)]
pub(super) struct Layout {
    /// The number under which the reader knows it.
    pub number: u16,
    /// Of all values of fixed length.
    pub fixed_bytes: usize,
    pub fields: Box<[Field]>,
}

/// A key of a layout and its value.
#[derive(Debug)]
pub(super) struct Field {
    pub key: Key,
    /// The shape that ends with it.
    pub shape: u16,
    pub kind: Kind,
    /// Where the value is among those of fixed length.
    pub offset: usize,
}

/// Which layout objects with some first key mostly have.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Guess {
    layout: u16,
    /// How much speaks for it. A wrong guess costs more than a right one gains.
    trust: u8,
}

impl Guess {
    const TRUST_MAX: u8 = 12;

    /// From here on it is tried.
    const TRUSTED: u8 = 4;

    const LOSS: u8 = 4;

    /// The layout, if it is to be tried.
    pub fn get(self) -> Option<u16> {
        (self.trust >= Self::TRUSTED).then_some(self.layout)
    }

    /// It was tried.
    pub fn tried(&mut self, is_right: bool) {
        self.trust = match is_right {
            true => (self.trust + 1).min(Self::TRUST_MAX),
            false => self.trust.saturating_sub(Self::LOSS),
        };
    }

    /// It was not tried or was wrong, and this would have been right.
    pub fn learn(&mut self, layout: u16) {
        if self.trust == 0 {
            *self = Guess { layout, trust: 1 };
        } else if self.layout == layout {
            self.trust = (self.trust + 1).min(Self::TRUST_MAX);
        } else {
            self.trust -= 1;
        }
    }
}
