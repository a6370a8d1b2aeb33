//! Strings across the boundary, with one copy.

use std::cell::RefCell;
use std::ptr;

use napi::sys;

use super::errors::Result;
use crate::error::{Code, Error};

thread_local! {
    /// UTF-16 on its way, kept for the next string.
    static UNITS: RefCell<Vec<u16>> = const { RefCell::new(Vec::new()) };
}

/// A larger buffer than this is given back after use, in units.
const UNITS_KEPT_MAX: usize = 1024 * 1024;

/// Of a shorter string, another question takes longer than its answer saves, in units.
const ASKED_LENGTH_MIN: usize = 256;

/// Longest sequence of bytes that one UTF-16 unit becomes.
const UTF8_BYTES_PER_UNIT: usize = 3;

/// Replaces `buffer` with the UTF-8 form of a JavaScript string. Lone surrogates become U+FFFD;
/// `JSON.stringify` writes none.
///
/// # Errors
/// When `value` is not a string.
pub fn read_utf8(env: sys::napi_env, value: sys::napi_value, buffer: &mut Vec<u8>) -> Result<()> {
    buffer.clear();
    append_utf8(env, value, buffer)
}

/// The strings of a JavaScript array, one behind the other, and where each ends.
///
/// # Errors
/// When `array` is not an array of strings.
pub fn read_all_utf8(env: sys::napi_env, array: sys::napi_value) -> Result<(Vec<u8>, Vec<usize>)> {
    let mut length = 0;
    // SAFETY: `array` is a value of the running call, as are its elements.
    check(unsafe { sys::napi_get_array_length(env, array, &raw mut length) })?;
    let mut text = Vec::new();
    let mut ends = Vec::with_capacity(length as usize);
    for index in 0..length {
        let mut element = ptr::null_mut();
        // SAFETY: as above.
        check(unsafe { sys::napi_get_element(env, array, index, &raw mut element) })?;
        append_utf8(env, element, &mut text)?;
        ends.push(text.len());
    }
    Ok((text, ends))
}

/// V8 only copies the units, which it does at the speed of memory; its own conversion takes them
/// one by one. Letters that are all ASCII it copies as bytes.
fn append_utf8(env: sys::napi_env, value: sys::napi_value, buffer: &mut Vec<u8>) -> Result<()> {
    let mut length = 0;
    // SAFETY: with no buffer the call only writes the length.
    check(unsafe {
        sys::napi_get_value_string_utf16(env, value, ptr::null_mut(), 0, &raw mut length)
    })?;
    if length >= ASKED_LENGTH_MIN && utf8_length(env, value)? == length {
        return append_ascii(env, value, length, buffer);
    }
    UNITS.with_borrow_mut(|units| {
        units.clear();
        // The call writes a zero behind the units.
        units.reserve(length + 1);
        let mut copied = 0;
        // SAFETY: there is room for `length + 1` units, and the call initialises `copied` of them.
        unsafe {
            check(sys::napi_get_value_string_utf16(
                env,
                value,
                units.as_mut_ptr(),
                length + 1,
                &raw mut copied,
            ))?;
            units.set_len(copied);
        }
        append_utf8_of(units, buffer);
        if units.capacity() > UNITS_KEPT_MAX {
            *units = Vec::new();
        }
        Ok(())
    })
}

fn utf8_length(env: sys::napi_env, value: sys::napi_value) -> Result<usize> {
    let mut length = 0;
    // SAFETY: with no buffer the call only writes the length.
    check(unsafe {
        sys::napi_get_value_string_utf8(env, value, ptr::null_mut(), 0, &raw mut length)
    })?;
    Ok(length)
}

/// Appends a string of `length` letters, which are ASCII.
fn append_ascii(
    env: sys::napi_env,
    value: sys::napi_value,
    length: usize,
    buffer: &mut Vec<u8>,
) -> Result<()> {
    // The call writes a zero behind the letters.
    buffer.reserve(length + 1);
    let mut copied = 0;
    // SAFETY: there is room for `length + 1` bytes, and the call initialises `copied` of them.
    unsafe {
        let room = buffer.spare_capacity_mut().as_mut_ptr().cast();
        check(sys::napi_get_value_string_latin1(
            env,
            value,
            room,
            length + 1,
            &raw mut copied,
        ))?;
        buffer.set_len(buffer.len() + copied);
    }
    Ok(())
}

/// Appends the UTF-8 form of `units`.
fn append_utf8_of(units: &[u16], buffer: &mut Vec<u8>) {
    let mut rest = units;
    while !rest.is_empty() {
        // Most text is almost pure ASCII; what is not comes back for more room.
        let room = rest.len() + rest.len() / 8 + UTF8_BYTES_PER_UNIT * 2;
        let begin = buffer.len();
        buffer.resize(begin + room, 0);
        let (read, written) =
            encoding_rs::mem::convert_utf16_to_utf8_partial(rest, &mut buffer[begin..]);
        buffer.truncate(begin + written);
        rest = &rest[read..];
    }
}

/// A JavaScript string of `text`, which is UTF-8; ASCII takes the shorter way.
pub fn write_utf8(env: sys::napi_env, text: &[u8], ascii: bool) -> Result<sys::napi_value> {
    let mut value = ptr::null_mut();
    if ascii {
        // SAFETY: `text` is valid for its length during the call.
        check(unsafe {
            let length = text.len() as isize;
            sys::napi_create_string_latin1(env, text.as_ptr().cast(), length, &raw mut value)
        })?;
        return Ok(value);
    }
    UNITS.with_borrow_mut(|units| {
        units.clear();
        // The conversion wants one unit more than there are bytes.
        units.resize(text.len() + 1, 0);
        let count = encoding_rs::mem::convert_utf8_to_utf16(text, units);
        // SAFETY: `units` is valid for `count` units during the call.
        check(unsafe {
            sys::napi_create_string_utf16(env, units.as_ptr(), count as isize, &raw mut value)
        })?;
        if units.capacity() > UNITS_KEPT_MAX {
            *units = Vec::new();
        }
        Ok(value)
    })
}

/// Turns a status of Node-API into an error.
pub fn check(status: sys::napi_status) -> Result<()> {
    if status == sys::Status::napi_ok {
        return Ok(());
    }
    let message = match status {
        sys::Status::napi_string_expected => "a string was expected".to_owned(),
        sys::Status::napi_number_expected => "a number was expected".to_owned(),
        status => format!("Node-API status {status}"),
    };
    Err(super::errors::exception(Error::rule(
        Code::Internal,
        message,
    )))
}
