//! Memory of JavaScript in which it finds what was received.

use std::{ptr, slice};

use napi::sys;

use super::errors::Result;
use super::text::check;

/// Bytes that are kept for what one wake-up brings. What finds no room in them gets a buffer of its
/// own, which costs several times as much as a short message does.
const INBOX_BYTES: usize = 256 * 1024;

/// An `ArrayBuffer` that is used again for every wake-up: JavaScript has read it when its call returns.
pub struct Inbox {
    /// Null until something is received.
    reference: sys::napi_ref,
    data: *mut u8,
    used: usize,
}

impl Inbox {
    pub const fn new() -> Self {
        Inbox {
            reference: ptr::null_mut(),
            data: ptr::null_mut(),
            used: INBOX_BYTES,
        }
    }

    /// Begins anew: nobody reads any more what was put here.
    pub fn clear(&mut self) {
        self.used = 0;
    }

    /// Copies `bytes` to JavaScript. Returns the `ArrayBuffer` that has them, and where in it they begin.
    pub fn put(&mut self, env: sys::napi_env, bytes: &[u8]) -> Result<(sys::napi_value, usize)> {
        let (own, begin) = self.copy(env, bytes)?;
        Ok((own.map_or_else(|| self.buffer(env), Ok)?, begin))
    }

    /// As [`Inbox::put`], but returns a buffer only if it is not the one that [`Inbox::buffer`] tells.
    pub fn copy(
        &mut self,
        env: sys::napi_env,
        bytes: &[u8],
    ) -> Result<(Option<sys::napi_value>, usize)> {
        if bytes.len() > INBOX_BYTES - self.used {
            let (buffer, data) = array_buffer(env, bytes.len())?;
            // SAFETY: the new buffer has that length, and nobody else has seen it.
            unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), data, bytes.len()) };
            return Ok((Some(buffer), 0));
        }
        self.buffer(env)?;
        let begin = self.used;
        // SAFETY: the buffer is kept by the reference and never given out of the package, which does
        // not detach it; there is room behind `begin`.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.data.add(begin), bytes.len()) };
        self.used += bytes.len();
        Ok((None, begin))
    }

    /// As [`Inbox::put`], for a `Float64Array`: where they begin is counted in numbers.
    pub fn put_numbers(
        &mut self,
        env: sys::napi_env,
        numbers: &[f64],
    ) -> Result<(sys::napi_value, usize)> {
        self.used = self.used.next_multiple_of(size_of::<f64>());
        // SAFETY: every byte of a number is initialised.
        let bytes = unsafe { slice::from_raw_parts(numbers.as_ptr().cast(), size_of_val(numbers)) };
        let (buffer, begin) = self.put(env, bytes)?;
        Ok((buffer, begin / size_of::<f64>()))
    }

    /// The `ArrayBuffer` of whatever has none of its own.
    pub fn buffer(&mut self, env: sys::napi_env) -> Result<sys::napi_value> {
        let mut buffer = ptr::null_mut();
        if self.reference.is_null() {
            let data;
            (buffer, data) = array_buffer(env, INBOX_BYTES)?;
            // SAFETY: `buffer` is a value of the open handle scope.
            check(unsafe { sys::napi_create_reference(env, buffer, 1, &raw mut self.reference) })?;
            self.data = data;
        } else {
            // SAFETY: the reference is strong, and not deleted before `close`.
            check(unsafe { sys::napi_get_reference_value(env, self.reference, &raw mut buffer) })?;
        }
        Ok(buffer)
    }

    /// Gives the memory back.
    pub fn close(&mut self, env: sys::napi_env) {
        if !self.reference.is_null() {
            // SAFETY: the reference belongs to this environment and is deleted once.
            unsafe { sys::napi_delete_reference(env, self.reference) };
        }
        *self = Inbox::new();
    }
}

fn array_buffer(env: sys::napi_env, length: usize) -> Result<(sys::napi_value, *mut u8)> {
    let (mut buffer, mut data) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: both results are written when the call succeeds.
    check(unsafe { sys::napi_create_arraybuffer(env, length, &raw mut data, &raw mut buffer) })?;
    Ok((buffer, data.cast()))
}
