//! Functions for what is called with every message, or with every few.
//!
//! A method of a class costs 300 ns: napi-derive looks for `self` behind its JavaScript object, and
//! notes in tables for whom it is borrowed. A function that knows its state costs 25 to 50.

use std::ffi::{CStr, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::rc::Rc;
use std::slice;

use napi::{JsError, sys};

use super::errors::{Result, exception};
use super::text::check;
use crate::error::{Code, Error};

/// What a function is called with; what the caller leaves out is `undefined`.
pub struct Call<const COUNT: usize> {
    env: sys::napi_env,
    arguments: [sys::napi_value; COUNT],
}

impl<const COUNT: usize> Call<COUNT> {
    /// The environment of the call.
    pub fn env(&self) -> sys::napi_env {
        self.env
    }

    /// An argument as it came.
    pub fn value(&self, index: usize) -> sys::napi_value {
        self.arguments[index]
    }

    /// A number.
    ///
    /// # Errors
    /// When the argument is none.
    pub fn number(&self, index: usize) -> Result<f64> {
        let mut number = 0.0;
        // SAFETY: the argument is a value of the running call.
        check(unsafe { sys::napi_get_value_double(self.env, self.value(index), &raw mut number) })?;
        Ok(number)
    }

    /// A count, or a place among bytes: the number nearest to it that a `u32` has.
    ///
    /// # Errors
    /// When the argument is no number.
    pub fn whole(&self, index: usize) -> Result<u32> {
        Ok(self.number(index)? as u32)
    }

    /// The bytes of a `Uint8Array`, which JavaScript must not change before the call returns.
    ///
    /// # Errors
    /// When the argument is no typed array of bytes.
    pub fn bytes(&self, index: usize) -> Result<&[u8]> {
        let (mut kind, mut length, mut data) = (0, 0, ptr::null_mut());
        // SAFETY: the argument is a value of the running call, the results that are not asked for may
        // be null.
        check(unsafe {
            sys::napi_get_typedarray_info(
                self.env,
                self.value(index),
                &raw mut kind,
                &raw mut length,
                &raw mut data,
                ptr::null_mut(),
                ptr::null_mut(),
            )
        })?;
        if kind != sys::TypedarrayType::uint8_array {
            return Err(exception(Error::rule(
                Code::Internal,
                "a Uint8Array was expected",
            )));
        }
        if length == 0 {
            return Ok(&[]);
        }
        // SAFETY: the array has so many bytes there, and lives as long as the call.
        Ok(unsafe { slice::from_raw_parts(data.cast(), length) })
    }
}

type Work<State, const COUNT: usize> = fn(&State, &Call<COUNT>) -> Result<f64>;

struct Bound<State, const COUNT: usize> {
    state: Rc<State>,
    work: Work<State, COUNT>,
}

/// Gives `object` a function that calls `work` with `state` and `COUNT` arguments. It returns a number.
///
/// # Errors
/// When the environment is ending.
pub fn define<State: 'static, const COUNT: usize>(
    env: sys::napi_env,
    object: sys::napi_value,
    name: &CStr,
    state: &Rc<State>,
    work: Work<State, COUNT>,
) -> Result<()> {
    let state = Rc::clone(state);
    let bound = Box::into_raw(Box::new(Bound { state, work })).cast::<c_void>();
    let mut function = ptr::null_mut();
    // SAFETY: `object` belongs to the running call. The finalizer gets `bound` once, after the last call
    // of the function; if it cannot be attached, nobody has the function.
    unsafe {
        let status = sys::napi_create_function(
            env,
            name.as_ptr(),
            name.count_bytes() as isize,
            Some(call::<State, COUNT>),
            bound,
            &raw mut function,
        );
        let status = if status == sys::Status::napi_ok {
            let release = Some(release::<State, COUNT> as unsafe extern "C" fn(_, _, _));
            let (hint, reference) = (ptr::null_mut(), ptr::null_mut());
            sys::napi_add_finalizer(env, function, bound, release, hint, reference)
        } else {
            status
        };
        check(status).inspect_err(|_| drop(Box::from_raw(bound.cast::<Bound<State, COUNT>>())))?;
        // Whatever `Object.prototype` has under that name.
        let property = sys::napi_property_descriptor {
            utf8name: name.as_ptr(),
            name: ptr::null_mut(),
            method: None,
            getter: None,
            setter: None,
            value: function,
            attributes: sys::PropertyAttributes::default,
            data: ptr::null_mut(),
        };
        check(sys::napi_define_properties(
            env,
            object,
            1,
            &raw const property,
        ))
    }
}

unsafe extern "C" fn release<State, const COUNT: usize>(
    _: sys::napi_env,
    bound: *mut c_void,
    _: *mut c_void,
) {
    // SAFETY: Node calls this once, with the data given to it.
    drop(unsafe { Box::from_raw(bound.cast::<Bound<State, COUNT>>()) });
}

unsafe extern "C" fn call<State, const COUNT: usize>(
    env: sys::napi_env,
    info: sys::napi_callback_info,
) -> sys::napi_value {
    let mut count = COUNT;
    let mut arguments = [ptr::null_mut(); COUNT];
    let mut bound = ptr::null_mut();
    // SAFETY: Node calls this with the data given to it, which the finalizer frees only when nobody calls
    // the function any more; there is room for `COUNT` arguments, all of which are written.
    let answered = unsafe {
        let (room, this) = (arguments.as_mut_ptr(), ptr::null_mut());
        check(sys::napi_get_cb_info(
            env,
            info,
            &raw mut count,
            room,
            this,
            &raw mut bound,
        ))
        .and_then(|()| {
            let Bound { state, work } = &*bound.cast::<Bound<State, COUNT>>();
            let call = Call { env, arguments };
            catch_unwind(AssertUnwindSafe(|| work(state, &call))).unwrap_or_else(|_| {
                // The panic hook has printed where.
                let text = "internal error, please report it";
                Err(exception(Error::rule(Code::Internal, text)))
            })
        })
    };
    let mut value = ptr::null_mut();
    let answered = answered.and_then(|number| {
        // SAFETY: `env` is the environment of this call.
        check(unsafe { sys::napi_create_double(env, number, &raw mut value) })
    });
    if let Err(error) = answered {
        // SAFETY: as above. What is returned beside an exception counts for nothing.
        unsafe { JsError::from(error).throw_into(env) };
    }
    value
}
