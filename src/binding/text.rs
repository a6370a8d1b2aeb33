//! Strings across the boundary, with one copy.

use std::ptr;

use napi::sys;

use super::errors::Result;
use crate::error::{Code, Error};

/// Below this many bytes the worst case is reserved, which saves asking for the exact length.
const WORST_CASE_BYTES_MAX: usize = 1024 * 1024;
/// Longest sequence that one UTF-16 unit can become in UTF-8, and the longest sequence at all.
const UTF8_BYTES_PER_UNIT: usize = 3;
const UTF8_BYTES_MAX: usize = 4;

/// Replaces `buffer` with the UTF-8 form of a JavaScript string. Lone surrogates become U+FFFD;
/// `JSON.stringify` writes none.
///
/// # Errors
/// When `value` is not a string.
pub fn read_utf8(env: sys::napi_env, value: sys::napi_value, buffer: &mut Vec<u8>) -> Result<()> {
    buffer.clear();
    let mut units = 0;
    // SAFETY: with no buffer the call only writes the length.
    check(unsafe {
        sys::napi_get_value_string_utf16(env, value, ptr::null_mut(), 0, &raw mut units)
    })?;
    let worst = units * UTF8_BYTES_PER_UNIT + 1;
    let likely = if worst <= WORST_CASE_BYTES_MAX {
        worst
    } else {
        // Most messages are almost pure ASCII.
        units + units / 8 + UTF8_BYTES_MAX + 1
    };
    copy(env, value, buffer, likely)?;
    // Copying stops in front of a character that does not fit, so this much free room means that
    // nothing is missing.
    if likely < worst && buffer.len() + UTF8_BYTES_MAX >= likely {
        let mut exact = 0;
        // SAFETY: with no buffer the call only writes the length.
        check(unsafe {
            sys::napi_get_value_string_utf8(env, value, ptr::null_mut(), 0, &raw mut exact)
        })?;
        copy(env, value, buffer, exact + 1)?;
    }
    Ok(())
}

/// `room` includes the zero byte that the call writes at the end.
fn copy(
    env: sys::napi_env,
    value: sys::napi_value,
    buffer: &mut Vec<u8>,
    room: usize,
) -> Result<()> {
    buffer.clear();
    buffer.reserve(room);
    let mut copied = 0;
    // SAFETY: the buffer has room for `room` bytes, and the call initialises `copied` of them.
    unsafe {
        check(sys::napi_get_value_string_utf8(
            env,
            value,
            buffer.as_mut_ptr().cast(),
            room,
            &raw mut copied,
        ))?;
        buffer.set_len(copied);
    }
    Ok(())
}

/// A JavaScript string of `text`; ASCII takes the shorter way.
pub fn write_utf8(env: sys::napi_env, text: &[u8], ascii: bool) -> Result<sys::napi_value> {
    let mut value = ptr::null_mut();
    let length = text.len() as isize;
    // SAFETY: `text` is valid for its length during the call.
    check(unsafe {
        if ascii {
            sys::napi_create_string_latin1(env, text.as_ptr().cast(), length, &raw mut value)
        } else {
            sys::napi_create_string_utf8(env, text.as_ptr().cast(), length, &raw mut value)
        }
    })?;
    Ok(value)
}

/// Turns a status of Node-API into an error.
pub fn check(status: sys::napi_status) -> Result<()> {
    if status == sys::Status::napi_ok {
        return Ok(());
    }
    let message = match status {
        sys::Status::napi_string_expected => "a string was expected".to_owned(),
        status => format!("Node-API status {status}"),
    };
    Err(super::errors::exception(Error::rule(
        Code::Internal,
        message,
    )))
}
