//! Messages that the face hands over, in the form of [`crate::values`] or as JSON texts.

use std::ops::Range;

use napi::bindgen_prelude::*;
use napi::sys;
use napi_derive::napi;

use super::errors::{self, exception};
use super::text::{read_all_utf8, write_utf8};
use crate::error::{Code, Error};
use crate::queue::Records;
use crate::values::{self, Around, Malformed};

/// The JSON texts of messages, which come as in `NativeHub.writeValues`, one behind the other.
// Node alone calls it, and the unit tests run without.
#[cfg_attr(test, allow(dead_code))]
#[napi(catch_unwind)]
pub fn print_values(
    env: Env,
    bytes: &[u8],
    begin: u32,
    end: u32,
    shapes_begin: u32,
    shapes_end: u32,
) -> errors::Result<Unknown<'static>> {
    let (notes, shapes) = notes_of(bytes, begin..end, shapes_begin..shapes_end)?;
    let mut text = Vec::new();
    values::print(notes, shapes, Around::default(), &mut text).map_err(malformed)?;
    let value = write_utf8(env.raw(), &text, text.is_ascii())?;
    // SAFETY: the string was made in this environment.
    Ok(unsafe { Unknown::from_raw_unchecked(env.raw(), value) })
}

/// The notes and the shapes in what the face hands over.
pub fn notes_of(
    bytes: &[u8],
    notes: Range<u32>,
    shapes: Range<u32>,
) -> errors::Result<(&[u8], &[u8])> {
    let part = |range: Range<u32>| bytes.get(range.start as usize..range.end as usize);
    part(notes)
        .zip(part(shapes))
        .ok_or_else(|| malformed(Malformed))
}

pub fn malformed(_: Malformed) -> napi::Error<String> {
    exception(Error::rule(
        Code::Internal,
        "Values came in a form that is not known",
    ))
}

/// The messages of an array of strings.
pub fn read_records(env: sys::napi_env, array: sys::napi_value) -> errors::Result<Records> {
    let (text, ends) = read_all_utf8(env, array)?;
    records(text, ends)
}

/// The messages of values, see `NativeHub.writeValues`.
pub fn print_records(
    bytes: &[u8],
    notes: Range<u32>,
    shapes: Range<u32>,
) -> errors::Result<Records> {
    let (notes, shapes) = notes_of(bytes, notes, shapes)?;
    let (text, ends) = values::print_apart(notes, shapes).map_err(malformed)?;
    records(text, ends)
}

/// The text takes as much memory as is counted while it waits.
fn records(mut text: Vec<u8>, ends: Vec<usize>) -> errors::Result<Records> {
    text.shrink_to_fit();
    let text = String::from_utf8(text)
        .map_err(|error| exception(Error::rule(Code::Internal, error.to_string())))?;
    Records::new(text, ends).map_err(exception)
}
