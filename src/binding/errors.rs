//! From the core's errors to exceptions.

use crate::error::Error;

/// What fallible exports return: the status string becomes `error.code`.
pub type Result<T> = napi::Result<T, String>;

/// The exception for an error of the core.
pub fn exception(error: Error) -> napi::Error<String> {
    napi::Error::new(error.code().into_owned(), error.to_string())
}
