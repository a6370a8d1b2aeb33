//! Notes, one part after the other.

use super::{Kind, Token};

/// Notes that break off, or have no meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// What is left to be read.
#[derive(Clone, Copy)]
pub(super) struct Notes<'a>(pub &'a [u8]);

impl<'a> Notes<'a> {
    pub fn token(&mut self) -> Result<Token, Malformed> {
        let byte = usize::from(self.byte()?);
        Token::ALL.get(byte).copied().ok_or(Malformed)
    }

    pub fn kind(&mut self) -> Result<Kind, Malformed> {
        let byte = usize::from(self.byte()?);
        Kind::ALL.get(byte).copied().ok_or(Malformed)
    }

    pub fn byte(&mut self) -> Result<u8, Malformed> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (first, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*first)
    }

    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (first, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(first)
    }

    /// Bytes behind their length in four bytes.
    pub fn long(&mut self) -> Result<&'a [u8], Malformed> {
        let count = self.u32()?;
        self.take(count as usize)
    }
}
